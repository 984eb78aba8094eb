"""Workers that get no new work: what is said of them."""

from coordinator.fleet.board import explanations
from events.clock import utc
from events.worker import WorkerCordoned, WorkerUncordoned
from tests.coordinator.test_fleet import examined, healthy_story, one


def test_a_cordon_is_shown_with_who_said_so_and_why() -> None:
    story = healthy_story("w1", "w2")
    story.tell(WorkerCordoned(worker_id="w2", cause="operator", actor="alice", reason="its fan is loud"))
    found = examined(story)
    assert [worker.worker_id for worker in found.workers] == ["w2", "w1"], "it is looked at first"
    sequence = story.last
    assert explanations(found.workers[0], found) == [
        f"cordoned by alice, until somebody lifts it: operator (event {sequence}): its fan is loud"
    ]
    assert explanations(found.workers[1], found) == []
    story.tell(WorkerUncordoned(worker_id="w2", actor="alice"))
    assert one(story, "w2").cordons == []


def test_of_two_cordons_the_older_one_is_known_by_its_cause() -> None:
    story = healthy_story("w1")
    until = utc(story.now + 90.0)
    story.tell(WorkerCordoned(worker_id="w1", cause="flapping", until=until, reason="3 failures"))
    story.tell(WorkerCordoned(worker_id="w1", cause="operator", actor="alice"))
    story.wait(30.0, "w1")
    found = examined(story)
    assert explanations(found.workers[0], found) == [
        "cordoned, for another 1 m: flapping",
        f"cordoned by alice, until somebody lifts it: operator (event {story.last})",
    ]
