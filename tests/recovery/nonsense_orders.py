"""What operators, and those who speak in their name, may order: a part of `nonsense`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from events.clock import utc
from events.worker import CordonCause, WorkerCordoned, WorkerUncordoned

if TYPE_CHECKING:
    from tests.recovery.nonsense import Nonsense

PAUSES = (0.0, 0.3, 1.0, 7.0, 16.0, 40.0)


def cordon(nonsense: "Nonsense", one: int, two: int, three: int) -> None:
    cause: CordonCause = "flapping" if two == 0 else "operator"
    until = None if three == 0 else utc(nonsense.story.now + PAUSES[three])
    event = WorkerCordoned(worker_id=nonsense.worker_id(one), cause=cause, until=until, times=two)
    nonsense.story.tell(event)


def uncordon(nonsense: "Nonsense", one: int, two: int, three: int) -> None:
    cause: CordonCause | None = (None, "flapping", "operator")[two % 3]
    actor = "alice" if three else ""
    nonsense.story.tell(WorkerUncordoned(worker_id=nonsense.worker_id(one), cause=cause, actor=actor))


ORDERS: dict[str, Callable[["Nonsense", int, int, int], None]] = {"cordon": cordon, "uncordon": uncordon}
