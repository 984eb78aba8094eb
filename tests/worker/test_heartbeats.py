"""What the heartbeats of a real worker say."""

import msgspec

from events.system import PaceChanged, PolicyChanged
from events.worker import Heartbeat, RecordedHeartbeat
from tests.worker.farm import SHORT, Farm, script

BYTES_MAX = 600
"""Of one heartbeat: ten thousand workers send five thousand a second."""
CHATTY = "import time; print('x' * 5000, flush=True); time.sleep(600)"


def content(recorded: RecordedHeartbeat) -> Heartbeat:
    assert recorded.heartbeat is not None
    return recorded.heartbeat


async def test_a_heartbeat_tells_of_tasks_and_machine(farm: Farm) -> None:
    worker = await farm.start("w1")
    await farm.assign(worker, script(CHATTY), attempt=3)
    recorded = await farm.beat(
        worker, lambda beat: bool(content(beat).progress) and content(beat).progress[0].seconds > 1
    )
    beat = content(recorded)
    (progress,) = beat.progress
    assert (beat.running, progress.attempt) == (("t1",), 3)
    assert progress.output_bytes >= 5000
    assert beat.disk_free_bytes
    assert beat.memory_available_bytes
    assert beat.memory_bytes
    assert beat.tasks_memory_bytes
    assert len(msgspec.json.encode(beat)) < BYTES_MAX


async def test_a_heartbeat_names_the_rules_that_it_is_sent_by(farm: Farm) -> None:
    ruled = (await farm.events(PolicyChanged))[-1].sequence
    worker = await farm.start("w1")
    first = content(await farm.beat(worker, lambda beat: content(beat).beat == 1))
    assert first.rules == ruled
    interval_s = SHORT.heartbeat_interval * 3
    paced = (await farm.say(PaceChanged(stretch=3.0, heartbeat_interval_s=interval_s, workers_live=1))).last
    named = content(await farm.beat(worker, lambda beat: content(beat).rules == paced))
    # The first of them is answered before the next interval begins, and from then on the pace is the new one.
    earlier, later = [
        content(await farm.beat(worker, lambda beat, number=number: content(beat).beat == named.beat + number))  # type: ignore[misc]
        for number in (1, 2)
    ]
    assert later.rules == paced
    assert (later.sent_at - earlier.sent_at).total_seconds() > interval_s * 0.85
