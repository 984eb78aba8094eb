"""What a slot is given to do, and what it says about it."""

import enum
from dataclasses import dataclass

from events.failures import ErrorCode


class Outcome(enum.StrEnum):
    passed = "passed"
    failed = "failed"
    error = "error"  # set-up or tear-down failed, or the job could not be run at all
    skipped = "skipped"
    xfailed = "xfailed"
    xpassed = "xpassed"
    crashed = "crashed"  # its process ended under it: a signal, os._exit, out of memory
    timed_out = "timed_out"
    cancelled = "cancelled"
    fenced = "fenced"  # its keeper heard nothing from the agent for too long and killed it


@dataclass(frozen=True, slots=True)
class Suite:
    """What a warm pytest process is for: an interpreter, a directory and pytest's arguments."""

    python: str
    cwd: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PytestJob:
    key: str
    node_id: str
    suite: Suite
    occurrence: int = 0  # pytest can collect several tests of one id
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class CommandJob:
    key: str
    argv: tuple[str, ...]
    cwd: str
    env: tuple[tuple[str, str], ...] = ()  # on top of the slot's environment
    timeout_s: float | None = None
    kind: str | None = None  # the runner that knows what argv means; None: it is a command


Job = PytestJob | CommandJob


@dataclass(frozen=True, slots=True)
class SlotStarted:
    key: str
    started_at: float  # unix time


@dataclass(frozen=True, slots=True)
class SlotFinished:
    """The end of a job; with ``error``, ``cancelled`` and ``fenced`` it need not have started before."""

    key: str
    outcome: Outcome
    duration_s: float = 0.0
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""  # pytest's own text, or the evidence of a crash
    output: str = ""
    reason: str = ""  # of a skip or an expected failure
    error: ErrorCode | None = None  # where more is known than the outcome says
    unstartable: bool = False  # neither a command nor a pytest for it could be started: no word on the job itself


SlotEvent = SlotStarted | SlotFinished


@dataclass(frozen=True, slots=True)
class CollectedItem:
    node_id: str
    occurrence: int
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Collection:
    items: tuple[CollectedItem, ...]
    errors: str  # pytest's own words; empty when all was well
    exit_code: int  # plain pytest's, had it collected only
