"""Stories: which events belong to whom."""

import json

import pytest

from events.memory import MemoryLog
from events.synthetic import SyntheticEvents
from replay import timeline
from replay.reading import stretch
from replay.story import chain_of, story_of, title_of
from tests.replay.told import HISTORY, told


@pytest.fixture
async def history() -> MemoryLog:
    return await told()


@pytest.mark.parametrize(
    ("name", "sequences", "title"),
    [
        ("t1", [3, 5, 6, 9], "task t1"),
        ("t2", [4, 11], "task t2"),
        ("w1", [1, 5, 6, 7, 8, 9, 10], "worker w1"),
        ("r1", [2, 3, 4, 5, 6, 9, 11], "run r1: a run"),
        ("nobody", [], "nobody"),
    ],
)
async def test_entities(history: MemoryLog, name: str, sequences: list[int], title: str) -> None:
    story = await story_of(history, name)
    assert [recorded.sequence for recorded in story.events] == sequences
    assert title_of(story, name) == title


@pytest.mark.parametrize(
    ("sequence", "sequences"),
    [
        (8, [7, 8, 9]),
        (7, [7, 8, 9]),
        (9, [7, 8, 9]),
        (6, [2, 3, 5, 6]),
        (2, [2, 3, 4, 5, 6, 11]),
        (1, [1]),
        (99, []),
    ],
)
async def test_causal_chains(history: MemoryLog, sequence: int, sequences: list[int]) -> None:
    by_sequence = await chain_of(history, sequence)
    assert [recorded.sequence for recorded in by_sequence.events] == sequences
    recorded = await history.read_one(sequence) if sequences else None
    if recorded is not None:
        assert (await story_of(history, recorded.id)).events == by_sequence.events


async def test_a_story_knows_where_its_causes_stand(history: MemoryLog) -> None:
    story = await story_of(history, "w1")
    lines = [str(timeline.line(recorded, story.sequences)) for recorded in story.events]
    assert lines[4].endswith("worker.failed                 w1  reason=worker_exit incarnation=1  <- 7")


async def test_what_cannot_be_understood_is_told_with_its_subject(history: MemoryLog) -> None:
    batches = [batch async for batch in stretch(history)]
    broken = batches[0][0].__class__(12, 0.0, "worker.w1.exploded", None, None, "unknown kind", b"{}")
    assert "not understood: unknown kind" in str(timeline.line(broken))
    assert json.loads(timeline.as_json(broken))["problem"] == "unknown kind"


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(1, None, range(1, 12)), (3, 5, range(3, 6)), (11, None, [11]), (12, None, []), (5, 4, []), (1, 1, [1])],
)
async def test_stretches(history: MemoryLog, first: int, last: int | None, expected: range) -> None:
    found = [one.sequence async for batch in stretch(history, first=first, last=last) for one in batch]
    assert found == list(expected)


async def test_json_lines_hold_everything(history: MemoryLog) -> None:
    batches = [batch async for batch in stretch(history)]
    lines = [json.loads(timeline.as_json(recorded)) for recorded in batches[0]]
    assert [line["sequence"] for line in lines] == list(range(1, len(HISTORY) + 1))
    assert lines[7]["envelope"]["event"] == {
        "kind": "worker.failed",
        "worker_id": "w1",
        "incarnation": 1,
        "reason": "worker_exit",
    }


async def test_a_label_shows(history: MemoryLog) -> None:
    await SyntheticEvents(history, "chaos").worker_failed("w1", message="a drill")
    recorded = await history.read_one(12)
    assert recorded is not None
    assert recorded.synthetic == "chaos"
    assert str(timeline.line(recorded)).endswith("w1  reason=synthetic message=a drill  [synthetic chaos]")


@pytest.mark.parametrize("label", ["", "x" * 65, "a\nb"])
def test_a_label_that_will_not_do(label: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 64 printable characters"):
        SyntheticEvents(MemoryLog(), label)
