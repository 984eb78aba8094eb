"""The port through which everything reads and writes the event log.

Two implementations keep it: JetStream (`events.jetstream`) and memory (`events.memory`); one conformance suite holds
both to what is written here.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from events.envelope import Draft, Recorded
from events.errors import BrokerRefused

MESSAGE_TOO_LARGE = 10054
"""JetStream's error code."""

BATCH_MAX = 1000
"""Most events in one atomic append (a limit of the server)."""

MESSAGE_BYTES_MAX = 256 * 1024
"""Largest message of the log, headers included."""

_HEADER_BYTES = 1024
_LEADER_BYTES = 15 * 1024
"""What a leader may add when it repeats what others wrote: the order to a worker holds the task that was submitted."""


def payload_bytes_max(fence: "Fence | None") -> int:
    """Largest payload of an append. Without a fence it is less, so that every fact leaves room for its decision."""
    return MESSAGE_BYTES_MAX - _HEADER_BYTES - (_LEADER_BYTES if fence is None else 0)


def check_append(drafts: Sequence[Draft], payloads: Sequence[bytes], fence: "Fence | None") -> None:
    """The part of `EventLog.append` that needs no log.

    Raises:
        ValueError, BrokerRefused: as there.
    """
    if len({draft.envelope.id for draft in drafts}) != len(drafts):
        raise ValueError("an event id is twice in one append: the log would store nothing and call it a duplicate")
    largest = max(map(len, payloads))
    if largest > payload_bytes_max(fence):
        number = next(index for index, payload in enumerate(payloads) if len(payload) == largest)
        tail = drafts[number].envelope.event.tail()
        raise BrokerRefused("append", f"{largest} bytes in {tail}: {payload_bytes_max(fence)} fit", MESSAGE_TOO_LARGE)


class Fence(NamedTuple):
    """A condition on an append: the last sequence on `tail`'s subject must be `sequence` (0: nothing there yet)."""

    tail: str
    sequence: int


class Appended(NamedTuple):
    """Where an append ended up. `last` is the sequence of its last event.

    `duplicate` says that the log had it already: an earlier try under the same ids went through.
    For a duplicate batch the server does not say where it stands, and `last` is 0.
    """

    last: int
    duplicate: bool


class Position(NamedTuple):
    """How far a reader has come: the sequence, and the id of the event there.

    Both, because after the loss of its tail the server hands out the same sequences again.
    """

    sequence: int
    event_id: str


START = Position(0, "")


class Reader(Protocol):
    """Delivers the log in order, without gaps, from one position on; follows it for ever."""

    @property
    def sequence(self) -> int:
        """Of the last event returned."""
        ...

    @property
    def caught_up(self) -> bool:
        """Nothing was known to be left in the log when the last batch was returned."""
        ...

    @property
    def steady(self) -> bool:
        """The log is there, and holds what was returned. After a disconnection that has to be found out anew; until
        then nothing should be written that rests on what was read.
        """
        ...

    async def next(self, wait_s: float | None = None) -> list[Recorded]:
        """What has come, at least one event, at most about a thousand; [] when nothing came for `wait_s` seconds.

        Raises:
            PositionLost: the log does not hold any more what was returned.
            LogError: the log cannot be read at all any more.
        """
        ...

    def damage(self) -> list[tuple[int, int]]:
        """Ranges of sequences (first, last) found missing since the last call, in a log that admits no deletion."""
        ...

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class EventLog(Protocol):
    async def append(self, drafts: Sequence[Draft], *, fence: Fence | None = None, timeout_s: float = 2.0) -> Appended:
        """Stores all of the events, next to each other and in this order, or none. Acknowledged means stored.

        Sending the same drafts again is safe: within the broker's dedupe window they are stored once. A batch is the
        same only as a whole: one that holds a part of an older one counts as known, and nothing of it is stored.

        Raises:
            ValueError: no events, more than `BATCH_MAX`, or one of them twice.
            Fenced: the fence does not hold; nothing was stored.
            LogFull: the stream's limit is reached; nothing was stored.
            Unacknowledged: unknown whether it was stored; send the same drafts again.
            BrokerRefused: anything else that the server said; nothing was stored.
        """
        ...

    async def reader(self, after: int = 0, tails: Sequence[str] = ()) -> Reader:
        """Reads what follows sequence `after`; with `tails` (`task.*.*.w1`) only what matches one of them."""
        ...

    async def last_sequence(self) -> int:
        """0 for an empty log."""
        ...

    async def read_one(self, sequence: int) -> Recorded | None:
        """The event at one sequence; None if there is none."""
        ...

    async def last_on(self, tail: str) -> Recorded | None:
        """The last event on one exact subject tail (`system.leader`)."""
        ...


async def verify_position(log: EventLog, position: Position) -> bool:
    """Whether the log still holds the event that a reader saw last. False: its tail was lost, or it is another log."""
    if position.sequence == 0:
        return True
    recorded = await log.read_one(position.sequence)
    return recorded is not None and (recorded.id == position.event_id or recorded.envelope is None)
