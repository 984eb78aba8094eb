"""An agent as its supervisor sees it."""

from events.worker import Begun
from worker.ports import AgentProcess
from worker.watchdog import Watchdog


class Watched:
    """From its start until its supervisor has taken leave of it."""

    def __init__(self, watchdog: Watchdog) -> None:
        self.process: AgentProcess
        self.watchdog = watchdog
        self.incarnation = 0
        self.registering = ""
        """The id of its last registration, known before it is stored."""
        self.last_word = ("", "")
        self.hung_s: float | None = None
        self.stalled = False
        self.killed_for = ""
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
