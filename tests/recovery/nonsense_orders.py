"""What operators, and those who speak in their name or in that of a leader, may order: a part of `nonsense`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from events.clock import utc
from events.system import BrokerReturned, RecoveryPaused, RecoveryResumed, SystemRecoveryStaged
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


def stage(nonsense: "Nonsense", one: int, two: int, three: int) -> None:
    state = nonsense.story.state
    incident = state.incidents.get("mass_worker_loss")
    incident_id = "forged" if incident is None or three == 0 else incident.incident_id
    number = (0 if state.outage is None else state.outage.stage) + (1 if two < 4 else two)
    workers = tuple(dict.fromkeys((nonsense.worker_id(one), nonsense.worker_id(two))))
    nonsense.story.tell(SystemRecoveryStaged(incident_id=incident_id, stage=number, workers=workers))


def return_broker(nonsense: "Nonsense", one: int, two: int, _: int) -> None:
    away_s = PAUSES[one]
    since = utc(nonsense.story.now - away_s - PAUSES[two])
    nonsense.story.tell(BrokerReturned(coordinator_id="c1", since=since, away_s=away_s))


ORDERS: dict[str, Callable[["Nonsense", int, int, int], None]] = {
    "cordon": cordon,
    "uncordon": uncordon,
    "order_drain": order_drain,
    "retire": retire,
    "pause": pause,
    "resume": resume,
    "stage": stage,
    "return_broker": return_broker,
}
