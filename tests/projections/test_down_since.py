"""Since when a worker is down, by what the log shows of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from events.clock import utc
from events.worker import (
    Evidence,
    WorkerDisconnected,
    WorkerStalled,
    WorkerStallRefuted,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerVanished,
)
from tests.projections.histories import EPOCH
from tests.projections.telling import Telling, asked

DOWN: list[tuple[Callable[[Telling], None], float | None]] = []


def moment(since: float | None) -> Callable[[Callable[[Telling], None]], Callable[[Telling], None]]:
    def add(story: Callable[[Telling], None]) -> Callable[[Telling], None]:
        DOWN.append((story, since))
        return story

    return add


@moment(10)
def _reaped(story: Telling) -> None:
    story.die(10)


@moment(7.5)
def _hung(story: Telling) -> None:
    story.fail(10.1, reason="worker_hung", proof=story.exit(10, unanswered_s=2.5))


@moment(None)
def _nothing_tells(story: Telling) -> None:
    story.fail(10, reason="unknown")


@moment(4)
def _silent(story: Telling) -> None:
    story.say(10, WorkerSuspected(worker_id="w1", incarnation=1, evidence=Evidence(last_seen=utc(EPOCH + 4))))
    story.fail(19, reason="silence", seen=4)


@moment(15)
def _heard_again(story: Telling) -> None:
    evidence = Evidence(last_seen=utc(EPOCH + 4))
    story.say(10, WorkerSuspected(worker_id="w1", incarnation=1, evidence=evidence))
    story.say(11, WorkerSuspicionRefuted(worker_id="w1", incarnation=1, evidence=evidence))
    story.die(15)


@moment(8)
def _vanished(story: Telling) -> None:
    event = WorkerVanished(worker_id="w1", incarnation=1, machine="m", lifeline="l", closed_at=utc(EPOCH + 8))
    story.fail(9, reason="disconnected", proof=story.say(8.5, event))


@moment(8.5)
def _vanished_nobody_knows_when(story: Telling) -> None:
    event = WorkerVanished(worker_id="w1", incarnation=1, machine="m", lifeline="l")
    story.fail(9, reason="disconnected", proof=story.say(8.5, event))


@moment(6)
def _cut_off_after_its_last_heartbeat(story: Telling) -> None:
    story.say(8.5, WorkerDisconnected(worker_id="w1", incarnation=1, closed_at=utc(EPOCH + 7)))
    story.fail(22, reason="silence", seen=6)


@moment(4)
def _stalled(story: Telling) -> None:
    story.say(14, WorkerStalled(worker_id="w1", incarnation=1, cause="not_started", waited_s=10.0))
    story.fail(16.1, reason="stalled", proof=story.exit(16))


@moment(16)
def _not_stalled_after_all(story: Telling) -> None:
    story.say(14, WorkerStalled(worker_id="w1", incarnation=1, cause="not_started", waited_s=10.0))
    story.say(15, WorkerStallRefuted(worker_id="w1", incarnation=1, reason="it began"))
    story.fail(16.1, proof=story.exit(16))


@moment(9)
def _what_is_said_of_another_incarnation(story: Telling) -> None:
    story.register(5)
    evidence = Evidence(last_seen=utc(EPOCH + 1))
    story.say(6, WorkerSuspected(worker_id="w1", incarnation=1, evidence=evidence))
    story.die(9)


@moment(10)
def _never_later_than_it_was_recorded(story: Telling) -> None:
    story.fail(10, reason="silence", seen=11)


@pytest.mark.parametrize(("story", "since"), DOWN, ids=[story.__name__ for story, _ in DOWN])
def test_since_when_a_worker_is_down(tmp_path: Path, story: Callable[[Telling], None], since: float | None) -> None:
    telling = Telling()
    telling.register(0)
    story(telling)
    path = telling.write(tmp_path / "history.duckdb")
    (row,) = asked(path, "SELECT epoch(down_at) AS down, detection_s, epoch(failed_at) AS failed FROM failures")
    assert row["down"] == (None if since is None else pytest.approx(EPOCH + since))
    assert row["detection_s"] == (None if since is None else pytest.approx(row["failed"] - EPOCH - since))
