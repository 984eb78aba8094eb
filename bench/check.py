"""How fast the invariants are checked over a log at hand, without and with deciding everything again.

`.venv/bin/python bench/check.py --events 100000 --rounds 3`
"""

import argparse
import gc
import time

import msgspec
from _harness import measuring, show
from _story import history

from events.clock import seconds
from events.envelope import Envelope, Recorded
from events.system import LeaderElected
from events.worker import RecordedHeartbeat
from recovery.core import State, evolve, observe
from replay.invariants import Checker


def told(events: int) -> tuple[list[Recorded], list[RecordedHeartbeat]]:
    """Both streams of a story, as a reader would get them."""
    story = history(events)
    records = [
        Recorded(sequence, seconds(draft.envelope.time), "", _signed(draft.envelope))
        for sequence, draft in enumerate(story.drafts, start=1)
    ]
    beats = [
        RecordedHeartbeat(sequence, seconds(heartbeat.sent_at), heartbeat)
        for sequence, heartbeat in enumerate(story.heartbeats, start=1)
    ]
    return records, beats


def _signed(envelope: Envelope) -> Envelope:
    """The story signs its election as a worker; the checker wants to see the leader's own name."""
    elected = isinstance(envelope.event, LeaderElected)
    return msgspec.structs.replace(envelope, source="coordinator/c1") if elected else envelope


def checked(records: list[Recorded], beats: list[RecordedHeartbeat], *, reproduce: bool) -> float:
    gc.collect()
    began = time.perf_counter()
    checker = Checker(reproduce=reproduce)
    for beat in beats:
        checker.observe(beat)
    for recorded in records:
        checker.feed(recorded)
    taken = time.perf_counter() - began
    print(f"  {checker.decisions} decisions, {len(checker.violations)} violations, {checker.unjudged} not judged")
    return taken


def folded(records: list[Recorded], beats: list[RecordedHeartbeat]) -> float:
    """The limit: the leader's own fold of the same, without a decision."""
    gc.collect()
    began = time.perf_counter()
    state = State()
    for recorded in records:
        evolve(state, recorded)
    for beat in beats:
        observe(state, beat)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with measuring("the invariants over a log in memory"):
        records, beats = told(options.events)
        print(f"{len(records)} events, {len(beats)} heartbeats")
        plain = [len(records) / checked(records, beats, reproduce=False) for _ in range(options.rounds)]
        again = [len(records) / checked(records, beats, reproduce=True) for _ in range(options.rounds)]
        limit = [len(records) / folded(records, beats) for _ in range(options.rounds)]
        show("checked", plain, "events/s", 0)
        show("checked, and decided again", again, "events/s", 0)
        show("only folded, by the core", limit, "events/s", 0)


if __name__ == "__main__":
    main()
