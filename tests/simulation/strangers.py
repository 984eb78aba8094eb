"""What somebody who may write to the log, and should not, writes there. None of it may have an effect.

What they forge is what a lost or confused worker would say: of an incarnation that is over, of an attempt that is
another's. Orders and decisions in a leader's name are the broker's to refuse, by its permissions.
"""

import random
from typing import TYPE_CHECKING

import msgspec

from events.base import Event
from events.envelope import Recorded
from events.task import TaskAttemptFinished, TaskReturned, TaskStarted, TaskSubmitted
from events.worker import WorkerDraining, WorkerExited, WorkerProbeAnswered, WorkerStopped

if TYPE_CHECKING:
    from tests.simulation.watch import Watch

REPEATABLE = (
    TaskSubmitted,
    TaskStarted,
    TaskAttemptFinished,
    TaskReturned,
    WorkerDraining,
    WorkerExited,
    WorkerProbeAnswered,
    WorkerStopped,
)
"""What is written without a fence, and so again if its writer was cut off for longer than the broker knows ids."""

GARBAGE = (b"", b"\x00\xff\xfe", b"{", b"[]", b'{"id":"x"}', b"NaN", b'{"event":{"kind":"task.started"}}', b"[" * 5000)
LOOK_BACK = 400


def forged(choice: float, watch: "Watch") -> tuple[Event, str] | None:
    """An event and whose name it bears; None while there is nobody to forge."""
    rng = random.Random(f"{choice}")
    if not watch.incarnations:
        return None
    worker_id = rng.choice(sorted(watch.incarnations))
    stale = rng.choice((0, 1, max(0, watch.incarnations[worker_id] - 1), watch.last + 1000))
    if stale == watch.incarnations[worker_id]:
        stale = 0
    task_id = rng.choice(sorted(watch.submitted)) if watch.submitted else "t-nobody"
    attempt = rng.randint(1, 3)
    event: Event = rng.choice(
        (
            WorkerExited(worker_id=worker_id, incarnation=stale or watch.last + 1000, signal=9),
            WorkerStopped(worker_id=worker_id, incarnation=stale),
            WorkerDraining(worker_id=worker_id, incarnation=stale),
            WorkerProbeAnswered(worker_id=worker_id, incarnation=stale, attempt=attempt),
            TaskStarted(task_id=task_id, worker_id=worker_id, incarnation=stale, attempt=attempt),
            TaskReturned(task_id=task_id, worker_id=worker_id, incarnation=stale, attempt=attempt),
            TaskAttemptFinished(
                task_id=task_id,
                worker_id=worker_id,
                incarnation=stale,
                attempt=attempt,
                outcome=rng.choice(("passed", "failed", "crashed", "cancelled", "fenced")),
            ),
            TaskAttemptFinished(
                task_id="t-nobody", worker_id="worker-9", incarnation=7, attempt=attempt, outcome="failed"
            ),
        )
    )
    return event, f"worker/{worker_id}"


def malformed(choice: float, watch: "Watch") -> tuple[str, bytes]:
    """A tail and bytes that are no event."""
    rng = random.Random(f"{choice}")
    return _tail(rng, watch), rng.choice(GARBAGE)


def unknown(choice: float, watch: "Watch") -> tuple[str, bytes]:
    """A tail and an event of a kind, or of a version, that nobody knows yet."""
    rng = random.Random(f"{choice}")
    kind, version = rng.choice((("task.teleported", 1), ("worker.stopped", 99), ("system.leader", 99)))
    message = {
        "id": f"unknown-{rng.getrandbits(60):x}",
        "time": "2026-01-01T00:00:00Z",
        "source": "somebody",
        "event": {"kind": kind, "task_id": "t1", "worker_id": "worker-1"},
        "version": version,
    }
    return _tail(rng, watch), msgspec.json.encode(message)


def _tail(rng: random.Random, watch: "Watch") -> str:
    worker_id = rng.choice(sorted(watch.incarnations) or ["worker-1"])
    return rng.choice(
        (
            "system.leader",
            "system.policy_changed",
            "task.t1.started",
            "task.t1.completed",
            f"task.t1.assigned.{worker_id}",
            f"worker.{worker_id}.failed",
            f"worker.{worker_id}.registered",
            f"worker.{worker_id}.exited",
        )
    )


def repeatable(choice: float, watch: "Watch") -> Recorded | None:
    """One of the last events, of those that a writer may come to write twice."""
    found = [
        recorded
        for recorded in watch.records[-LOOK_BACK:]
        if isinstance(recorded.event, REPEATABLE) and recorded.synthetic is None
    ]
    return found[int(choice * len(found))] if found else None
