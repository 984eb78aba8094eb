"""An agent as its supervisor sees it."""

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
