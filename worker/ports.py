"""What supervisor and agent take from the operating system. The simulator keeps these ports with a system of its own.

`worker.processes` and `worker.agent_process` keep them for the machine; for what a slot runs, see `worker.kept`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from events.worker import Progress
from worker.jobs import SlotEvent
from worker.lifeline import Lifeline
from worker.marks import Begun
from worker.slots import Slot


class Link(Protocol):
    """One end of the line between a supervisor and its agent; `worker.link` says what is spoken on it."""

    @property
    def closed(self) -> bool:
        """The other end is gone, and all that came before was received."""

    def send(self, word: str, argument: str | int = "") -> bool:
        """False: it was not taken, for the other end is gone or has not read for long. Never blocks, never raises."""

    def receive(self) -> list[tuple[str, str]]:
        """What has come: pairs of word and argument."""

    def close(self) -> None: ...


class AgentProcess(Protocol):
    """An agent, as the one that started it may handle it."""

    @property
    def pid(self) -> int: ...
    @property
    def link(self) -> Link: ...
    def terminate(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL."""

    def begun(self) -> list[Begun] | None:
        """What it began last, ended or not, once it has ended itself; None: nobody can tell."""

    def forget(self) -> None:
        """Nobody asks any more."""


class Processes(Protocol):
    """The processes beneath a supervisor."""

    @property
    def lifeline(self) -> Lifeline | None:
        """What this worker can be known to live by; None where there is no such thing."""

    @property
    def origin(self) -> tuple[str, int]:
        """The name of this machine, and the pid of this process."""

    def is_held(self, lifeline: Lifeline) -> bool:
        """Whether anything is left of the worker that has this lifeline, which is of this machine."""

    def start_agent(self, on_message: Callable[[], None], on_exit: Callable[[int], None]) -> AgentProcess:
        """Starts an agent that dies with this process.

        `on_message` is called whenever its link has something to receive; `on_exit` once, when it has ended, with its
        exit code, or with the number of the signal that ended it as a negative one. Both later than this returns.
        """

    def memory_kills(self) -> int | None:
        """How many processes of this machine were killed for want of memory so far; None: nobody knows."""

    def sweep(self) -> list[int]:
        """Kills all that ended agents have left; returns the pids of what cannot be killed."""


class Gauges(NamedTuple):
    """What a machine and an agent on it measure; `events.worker.Heartbeat` has the same names."""

    cpu_percent: float
    memory_bytes: int
    load_1m: float
    memory_available_bytes: int | None = None
    tasks_memory_bytes: int | None = None
    disk_free_bytes: int | None = None


class Vitals(NamedTuple):
    """What an agent does; `events.worker.Heartbeat` has the same names."""

    running: tuple[str, ...] = ()
    queued: int = 0
    progress: tuple[Progress, ...] = ()
    free: int = 0
    unreported: int = 0


class SlotFactory(Protocol):
    def __call__(
        self,
        index: int,
        on_events: Callable[[list[SlotEvent]], None],
        *,
        fence_after_s: float,
        worker_id: str,
        slot_count: int,
        grace_s: float,
    ) -> Slot: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The agent's own process, and the machine around it."""

    hostname: str
    pid: int
    gauges: Callable[[str], Gauges]
    """Given the folder whose disk is meant."""
    slot: SlotFactory
    lifeline: Lifeline | None = None
