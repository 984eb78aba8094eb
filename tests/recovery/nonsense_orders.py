"""What operators, and those who speak in their name, may order: a part of `nonsense`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from events.clock import utc
from events.system import RecoveryPaused, RecoveryResumed
from events.worker import CordonCause, WorkerCordoned, WorkerDrainRequested, WorkerRetired, WorkerUncordoned

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


def order_drain(nonsense: "Nonsense", one: int, two: int, three: int) -> None:
    incarnation = None if two < 3 else nonsense.incarnation(one, two)
    worker_id, restart = nonsense.worker_id(one), three % 2 == 1
    nonsense.story.tell(
        WorkerDrainRequested(worker_id=worker_id, actor="alice", restart=restart, incarnation=incarnation)
    )


def retire(nonsense: "Nonsense", one: int, two: int, _: int) -> None:
    nonsense.story.tell(WorkerRetired(worker_id=nonsense.worker_id(one), incarnation=nonsense.incarnation(one, two)))


def pause(nonsense: "Nonsense", _one: int, _two: int, _three: int) -> None:
    nonsense.story.tell(RecoveryPaused(actor="alice", reason="to look"))


def resume(nonsense: "Nonsense", _one: int, _two: int, _three: int) -> None:
    nonsense.story.tell(RecoveryResumed(actor="alice"))


ORDERS: dict[str, Callable[["Nonsense", int, int, int], None]] = {
    "cordon": cordon,
    "uncordon": uncordon,
    "order_drain": order_drain,
    "retire": retire,
    "pause": pause,
    "resume": resume,
}
