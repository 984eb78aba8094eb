"""What an agent's slots have begun last, in memory that outlives the agent.

A test that kills its worker does so before anybody has heard that it began: the report is still in a pipe, or on its
way to the log. So whoever begins a job leaves a mark first (the pytest runner itself, the agent for a command), in a
page of memory that supervisor, agent and runners share. The supervisor reads it when the agent is dead, and tells the
log. Of each slot the last ones are kept, since those behind the guilty one may have begun before the kill struck.
"""

import os
import time
from collections.abc import Iterable
from typing import NamedTuple

MARK_BYTES = 128
"""A job's key and the time at which it began, filled up with zeros. One write of so many bytes: a reader sees all of it
or nothing."""
KEPT = 20
"""Marks of each slot, one after the other in a ring: more than a runner may be handed ahead (`worker.slots`)."""
ROW_BYTES = KEPT * MARK_BYTES


class Begun(NamedTuple):
    incarnation: int
    task_id: str
    attempt: int
    after: int
    """How many others its slot began after it; 0: it was the last."""


class Row:
    """The marks of one slot. `fd` is somebody else's to close."""

    def __init__(self, fd: int, slot: int) -> None:
        self.fd = fd
        self._begin = slot * ROW_BYTES
        self._next = 0

    @property
    def place(self) -> str:
        """For the pytest runner: file descriptor, first byte, marks, and the length of each."""
        return f"{self.fd}:{self._begin}:{KEPT}:{MARK_BYTES}"

    def set(self, key: str) -> None:
        mark = f"{key} {time.monotonic_ns()}".encode()[:MARK_BYTES].ljust(MARK_BYTES, b"\0")
        os.pwrite(self.fd, mark, self._begin + self._next * MARK_BYTES)
        self._next = (self._next + 1) % KEPT


class Marks:
    """The page of one agent, made by its supervisor. Raises OSError where there is no such memory."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("resurgam-marks")

    def read(self) -> list[Begun]:
        """All that is kept. What a test has scribbled over it is left out."""
        page = os.pread(self.fd, os.fstat(self.fd).st_size, 0)
        rows = (page[at : at + ROW_BYTES] for at in range(0, len(page), ROW_BYTES))
        return [begun for row in rows for begun in _read_row(row)]

    def close(self) -> None:
        os.close(self.fd)


def _read_row(row: bytes) -> list[Begun]:
    """The last one first."""
    marks = (row[at : at + MARK_BYTES].rstrip(b"\0").decode(errors="replace") for at in range(0, len(row), MARK_BYTES))
    found = [(int(began), key) for key, _, began in (mark.partition(" ") for mark in marks) if began.isdecimal()]
    return numbered(key for _, key in sorted(found, reverse=True))


def numbered(keys: Iterable[str]) -> list[Begun]:
    """Jobs of one slot by their keys (`worker.backlog.key_of`), the last one first."""
    return [begun for after, key in enumerate(keys) if (begun := _parsed(key, after)) is not None]


def _parsed(key: str, after: int) -> Begun | None:
    incarnation, _, rest = key.partition(".")
    task_id, _, attempt = rest.rpartition(".")
    if not (incarnation.isdecimal() and attempt.isdecimal() and task_id):
        return None
    return Begun(int(incarnation), task_id, int(attempt), after)
