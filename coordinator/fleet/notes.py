"""What the core has no need to remember, and people want to know: when, why, and what the last heartbeat said."""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar, cast

import msgspec

from coordinator.fleet.tally import Tally
from events.base import Event, WorkerEvent
from events.envelope import Recorded
from events.heartbeats import HeartbeatReader
from events.kinds import AnyEvent
from events.system import DetectorDegraded, LeaderElected
from events.worker import Heartbeat, RecordedHeartbeat, WorkerRegistered

E = TypeVar("E", bound=Event)
W = TypeVar("W", bound=WorkerEvent)


class Noted(NamedTuple, Generic[E]):
    """An event, and where it stands in the log."""

    event: E
    id: str
    sequence: int
    time: float
    synthetic: str | None


class WorkerNotes:
    """The latest event of each kind about one worker: of most there are very few, and of workers very many."""

    __slots__ = ("_latest",)

    def __init__(self, latest: "list[Noted[WorkerEvent]] | None" = None) -> None:
        self._latest: list[Noted[WorkerEvent]] = latest or []

    def all(self) -> "list[Noted[WorkerEvent]]":
        return self._latest

    def take(self, noted: Noted[WorkerEvent]) -> None:
        kind = type(noted.event)
        for place, known in enumerate(self._latest):
            if type(known.event) is kind:
                self._latest[place] = noted
                return
        self._latest.append(noted)

    def latest(self, kind: type[W]) -> Noted[W] | None:
        return next((cast("Noted[W]", noted) for noted in self._latest if type(noted.event) is kind), None)

    def of_id(self, event_id: str) -> Noted[WorkerEvent] | None:
        return next((noted for noted in self._latest if noted.id == event_id), None)


class Notes:
    """A fold beside `recovery.state.State`. What it holds of a worker does not grow with the log."""

    def __init__(self) -> None:
        self.workers: dict[str, WorkerNotes] = {}
        self.doubt: Noted[DetectorDegraded] | None = None
        self.elected: Noted[LeaderElected] | None = None
        self.tally = Tally()

    def freeze(self) -> bytes:
        """All of them as bytes, for a snapshot."""
        workers = {worker_id: notes.all() for worker_id, notes in self.workers.items()}
        return msgspec.msgpack.encode((workers, self.doubt, self.elected, self.tally))

    @classmethod
    def thaw(cls, data: bytes) -> "Notes":
        """Raises msgspec.DecodeError if these are no notes."""
        workers, doubt, elected, tally = _frozen.decode(data)
        notes = cls()
        notes.tally = tally
        notes.workers = {
            worker_id: WorkerNotes([cast("Noted[WorkerEvent]", Noted(*one)) for one in latest])
            for worker_id, latest in workers.items()
        }
        notes.doubt = None if doubt is None else Noted(*cast("Noted[DetectorDegraded]", doubt))
        notes.elected = None if elected is None else Noted(*cast("Noted[LeaderElected]", elected))
        return notes

    def take(self, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            event = recorded.event
            if isinstance(event, WorkerEvent):
                notes = self.workers.get(event.worker_id)
                if notes is None:
                    notes = self.workers[event.worker_id] = WorkerNotes()
                registered = notes.latest(WorkerRegistered)
                self.tally.take(recorded, event, 0 if registered is None else registered.sequence)
                notes.take(_noted(recorded, event))
                continue
            if event is not None:
                self.tally.take(recorded, event)
            if isinstance(event, DetectorDegraded):
                self.doubt = _noted(recorded, event)
            elif isinstance(event, LeaderElected):
                self.elected = _noted(recorded, event)


_Frozen = tuple[AnyEvent, str, int, float, str | None]
"""A note, as it is written."""
_frozen = msgspec.msgpack.Decoder(tuple[dict[str, list[_Frozen]], _Frozen | None, _Frozen | None, Tally])


def _noted(recorded: Recorded, event: E) -> Noted[E]:
    return Noted(event, recorded.id, recorded.sequence, recorded.time, recorded.synthetic)


_Content = msgspec.defstruct(
    "_Content", [(field.name, field.type) for field in msgspec.structs.fields(Heartbeat)], array_like=True
)
"""A heartbeat without the names of what it says."""
_encoder = msgspec.msgpack.Encoder()
_vital = msgspec.msgpack.Decoder(tuple[int, float, _Content])  # type: ignore[valid-type]


class Vitals:
    """The last heartbeat of each worker, whichever incarnation sent it. Packed: of a large farm nobody looks at most of
    them, and as an object each takes three times as much."""

    def __init__(self) -> None:
        self._last: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._last)

    def take(self, batch: Sequence[RecordedHeartbeat]) -> None:
        for sequence, time, heartbeat in batch:
            if heartbeat is not None:
                content = msgspec.structs.astuple(heartbeat)
                self._last[heartbeat.worker_id] = _encoder.encode((sequence, time, content))

    def last(self, worker_id: str) -> tuple[int, float, Heartbeat] | None:
        """With its sequence, and the broker's time, in seconds since the epoch."""
        packed = self._last.get(worker_id)
        if packed is None:
            return None
        sequence, time, content = _vital.decode(packed)
        return sequence, time, Heartbeat(**msgspec.structs.asdict(content))

    def forget(self) -> None:
        """The broker has lost some of them."""
        self._last.clear()


class Overheard:
    """Keeps `recovery.consumer.HeartbeatSource` over a reader, and notes what passes."""

    def __init__(self, reader: HeartbeatReader, vitals: Vitals) -> None:
        self._reader = reader
        self._vitals = vitals
        self._listeners: list[Callable[[Sequence[RecordedHeartbeat]], None]] = []

    def listen(self, listener: Callable[[Sequence[RecordedHeartbeat]], None]) -> None:
        """`listener` is handed every batch before it is folded. It returns at once and does not raise."""
        self._listeners.append(listener)

    async def next(self, wait_s: float | None = None) -> list[RecordedHeartbeat]:
        batch = await self._reader.next(wait_s)
        self._vitals.take(batch)
        for listener in self._listeners:
            listener(batch)
        return batch

    def lost(self) -> int | None:
        lost = self._reader.lost()
        if lost is not None:
            self._vitals.forget()
        return lost
