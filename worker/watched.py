"""An agent as its supervisor sees it."""

import signal

from events.failures import ErrorCode
from events.worker import Begun
from worker.ports import AgentProcess
from worker.shortages import more_kills
from worker.watchdog import Watchdog


class Watched:
    """From its start until its supervisor has taken leave of it."""

    def __init__(self, watchdog: Watchdog, memory_kills: int | None = None) -> None:
        self.process: AgentProcess
        self.watchdog = watchdog
        self.incarnation = 0
        self.registering = ""
        """The id of its last registration, known before it is stored."""
        self.last_word = ("", "")
        self.hung_s: float | None = None
        self.stalled = False
        self.killed_for = ""
        self.memory_kills = memory_kills
        """Of the machine, when it was started."""
        self.begun: tuple[Begun, ...] | None = None
        """What its present incarnation began last; None: nobody can tell."""

    def close(self) -> None:
        """Once it is dead, and nothing of it begins anything any more."""
        self.process.link.close()
        found = self.process.begun()
        self.process.forget()
        if found is not None:
            own = (one for one in found if one.incarnation == self.incarnation)
            self.begun = tuple(Begun(one.task_id, one.attempt, one.after) for one in own)

    def error(self, code: int, memory_kills: int | None) -> ErrorCode:
        """What it ended of, with that exit code; `memory_kills` as they are by then."""
        if self.hung_s is not None or self.stalled:
            return "timeout"
        unexplained = code == -signal.SIGKILL and not self.killed_for
        return "worker_resource" if unexplained and more_kills(self.memory_kills, memory_kills) else "worker_exit"
