"""A fold goes back to fewer heartbeats than it has heard, as a replay does."""

from events.system import DetectorDegraded
from recovery.core import decide, observe, recall_beats
from recovery.state import State
from tests.recovery.story import Story, folded, registered


def test_a_fold_that_goes_back_has_heard_what_the_other_has_and_nothing_else() -> None:
    """A replay stands where a leader stood that had read less than the one before it: there w1 is still silent."""
    story = Story()
    story.join("w1", "w2")
    story.wait(10.0, "w1", "w2")
    former = story.worker("w1").incarnation
    story.tell(registered("w1"))
    story.wait(4.0, "w1", "w2")
    story.beat("w1", incarnation=former)
    here = len(story.beats)
    story.wait(5.0, "w2")
    story.beat("w1")

    earlier = folded([], story.beats[:here])
    state = folded(story.records, story.beats)
    assert decide(state, story.now + 2.0) == []
    recall_beats(state, earlier)
    expected = folded(story.records, story.beats[:here])
    assert [type(decision.event) for decision in decide(state, story.now + 2.0)] == [DetectorDegraded]
    for ahead in (0.0, 2.0, 20.0):
        assert decide(state, story.now + ahead) == decide(expected, story.now + ahead)
    assert heard(state) == heard(expected) == heard(earlier)

    for beat in story.beats[here:]:
        observe(state, beat)
    assert heard(state) == heard(folded([], story.beats))
    assert heard(earlier) == heard(expected), "what the other goes on to hear is its own"
    for ahead in (0.0, 2.0, 20.0):
        assert decide(state, story.now + ahead) == decide(folded(story.records, story.beats), story.now + ahead)


def heard(state: State) -> dict[str, object]:
    """All of a state that heartbeats make, and the times of the intervals between them."""
    return {
        "beats": state.beats,
        "stragglers": state.stragglers,
        "arrivals": {worker_id: (one.incarnation, one.times()) for worker_id, one in state.arrivals.items()},
        "last": (state.heartbeats_sequence, state.heartbeats_at, state.heard_last),
    }
