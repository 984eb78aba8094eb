"""What a coordinator says of its own health."""

from typing import Literal

import msgspec


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a coordinator knows of itself. `sequence` is how far its fold has come, `lag` how much is left to read."""

    coordinator_id: str
    broker_reachable: bool
    role: Literal["leader", "standby"]
    term: int
    sequence: int
    lag: int
    projector_alive: bool

    @property
    def healthy(self) -> bool:
        """A standby is healthy; so is a leader that lags behind, which says so in `lag`."""
        return self.broker_reachable and self.projector_alive
