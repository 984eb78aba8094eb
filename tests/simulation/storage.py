"""The messages of a stream of the simulated broker, by sequence."""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from events.subjects import matches

RECORD_BYTES = 30
"""What the server's file holds beside subject, headers and payload of a message; 4 more with headers."""
TRIM_AT = 4096

Headers = dict[str, str]


class Published(NamedTuple):
    """A message as it comes to a stream."""

    subject: str
    data: bytes
    headers: Headers | None

    @property
    def header_bytes(self) -> int:
        """On the wire: `NATS/1.0`, a line for each, an empty line."""
        if self.headers is None:
            return 0
        return 12 + sum(len(name.encode()) + len(value.encode()) + 4 for name, value in self.headers.items())

    @property
    def stored_bytes(self) -> int:
        extra = 0 if self.headers is None else 4 + self.header_bytes
        return RECORD_BYTES + len(self.subject) + len(self.data) + extra


class Stored(msgspec.Struct, frozen=True, gc=False):
    """One message of a stream."""

    sequence: int
    time_ns: int
    """By the wall clock of the broker's host."""
    subject: str
    data: bytes
    headers: Headers | None
    stored_at: float
    """By the loop's clock."""
    size: int


class Storage:
    def __init__(self) -> None:
        self.records: list[Stored | None] = []
        """By sequence; None where a message was removed or is lost. A checker reads here."""
        self.offset = 0
        """The sequence before that of `records[0]`."""
        self.last_sequence = 0
        self.messages = 0
        self.bytes = 0
        self._first = 0  # index in `records`; before it, all is None
        self._last_by_subject: dict[str, int] = {}

    @property
    def first_sequence(self) -> int:
        """Of what is stored; behind the last one when nothing is."""
        records = self.records
        while self._first < len(records) and records[self._first] is None:
            self._first += 1
        return self.offset + self._first + 1

    def get(self, sequence: int) -> Stored | None:
        index = sequence - self.offset - 1
        return self.records[index] if 0 <= index < len(self.records) else None

    def last_on(self, pattern: str) -> int:
        """The last sequence on a subject, which may have wildcards; 0 if there is none."""
        if "*" in pattern or ">" in pattern:
            return max(
                (sequence for subject, sequence in self._last_by_subject.items() if matches(pattern, subject)),
                default=0,
            )
        return self._last_by_subject.get(pattern, 0)

    def subjects_matching(self, pattern: str) -> dict[str, int]:
        """How many messages each has."""
        return Counter(record.subject for record in self.existing() if matches(pattern, record.subject))

    def existing(self, after: int = 0) -> Iterator[Stored]:
        """What is stored behind a sequence, in order."""
        first = max(self._first, after - self.offset)
        return (record for record in itertools.islice(self.records, first, None) if record is not None)

    def append(self, message: Published, time_ns: int, now: float) -> Stored:
        subject, data, headers = message
        self.last_sequence += 1
        record = Stored(self.last_sequence, time_ns, subject, data, headers, now, message.stored_bytes)
        self.records.append(record)
        self._count(record)
        return record

    def _count(self, record: Stored) -> None:
        self.messages += 1
        self.bytes += record.size
        self._last_by_subject[record.subject] = record.sequence

    def remove(self, sequence: int) -> bool:
        """Whether there was such a message."""
        record = self.get(sequence)
        if record is None:
            return False
        index = sequence - self.offset - 1
        self.records[index] = None
        self.messages -= 1
        self.bytes -= record.size
        if self._last_by_subject.get(record.subject) == sequence:
            self._find_last_on(record.subject, index)
        if index == self._first:
            self._first += 1
            if self._first >= TRIM_AT:
                del self.records[: self._first]
                self.offset += self._first
                self._first = 0
        return True

    def replace(self, record: Stored) -> None:
        """What the disk holds in the place of a message has become another one."""
        self.records[record.sequence - self.offset - 1] = record

    def _find_last_on(self, subject: str, index: int) -> None:
        for earlier in range(index - 1, self._first - 1, -1):
            record = self.records[earlier]
            if record is not None and record.subject == subject:
                self._last_by_subject[subject] = record.sequence
                return
        del self._last_by_subject[subject]

    def remove_older(self, time_ns: int) -> None:
        """From the front, as far as messages were stored at that time or before."""
        while (record := self.get(self.first_sequence)) is not None and record.time_ns <= time_ns:
            self.remove(record.sequence)

    def lose_since(self, moment: float) -> None:
        """The tail that was stored from `moment` (of the loop's clock) on is lost; its sequences will be used again."""
        keep = len(self.records)
        while keep and ((record := self.records[keep - 1]) is None or record.stored_at >= moment):
            keep -= 1
        del self.records[keep:]
        self._first = min(self._first, keep)
        self.last_sequence = self.offset + keep

    def recount(self) -> None:
        """Reads all that is stored, as the server does when it starts."""
        self.messages = self.bytes = 0
        self._last_by_subject.clear()
        for record in self.existing():
            self._count(record)
