"""What the core remembers of what it has foreseen. Plain records: `evolve` alone writes them."""

from dataclasses import dataclass, field

from events.forecast import Remedy, Resource
from recovery.forecasts import Attempts

FADES = 0.9
"""What an older judgement counts for at each new one: ten of them are what a record is made of."""


@dataclass(slots=True)
class Prediction:
    """An open one: nobody knows yet whether it was right. Times in seconds of cluster time."""

    resource: Resource
    incarnation: int
    sequence: int
    """Of its `WorkerFailurePredicted`."""
    event_id: str
    at: float
    value: float
    limit: float
    usual: float | None
    """As in the event."""
    own_bytes: float | None
    grown_bytes: float
    """What the worker's own processes had taken meanwhile: what its restart is to give back."""
    expected_at: float
    judge_at: float
    """Then it is judged by what is known."""
    remedy: Remedy
    acted: bool = False
    failed: str = ""
    """Why the incarnation failed, if it did."""
    over: str = ""
    """What else came between, so that nobody will know."""


@dataclass(slots=True)
class Foresight:
    """Of one worker."""

    attempts: Attempts = field(default_factory=Attempts)
    """Of the present incarnation."""
    predictions: dict[Resource, Prediction] = field(default_factory=dict)
    predicted_at: dict[Resource, float] = field(default_factory=dict)
    """When it was last said."""
    renewed_at: float | None = None
    """When something was last done about it."""


@dataclass(slots=True)
class TrackRecord:
    """How often what foresees one resource has been right lately."""

    right: float = 0.0
    wrong: float = 0.0
    judged: int = 0
    acts: bool = True

    def take(self, *, right: bool) -> None:
        self.right = round(self.right * FADES + right, 6)
        self.wrong = round(self.wrong * FADES + (not right), 6)
        self.judged += 1

    @property
    def precision(self) -> float:
        """Of none: 1.0."""
        judged = self.right + self.wrong
        return self.right / judged if judged else 1.0
