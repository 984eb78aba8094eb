"""The last steps: all verdicts, and the end of every process."""

from coordinator.demo.findings import find, stale_decisions, verdicts
from coordinator.demo.stage import Stage
from coordinator.demo.words import at
from events.system import CoordinatorStopped
from events.worker import WorkerStopped

VERDICTS_S_MAX = 120.0
SAID_S_MAX = 5.0


async def finish(stage: Stage) -> None:
    chronicle = stage.chronicle
    await stage.expect(
        lambda: chronicle.final >= chronicle.submitted or None, "a verdict for each test", VERDICTS_S_MAX
    )
    await chronicle.read_to_the_end()
    told = verdicts(chronicle.events)
    stage.ensure(not told.missing, f"no verdict for {', '.join(told.missing[:5])}")
    stage.ensure(not told.doubled, f"more than one verdict for {', '.join(told.doubled[:5])}")
    counts = ", ".join(f"{count} {verdict}" for verdict, count in told.counts.most_common())
    stage.ensure(not told.lost, f"verdicts that are not the tests' own: {counts}")
    stage.show.passed(f"{told.counts.total()} tests, {told.counts.total()} verdicts, one for each: {counts}")
    stale = stale_decisions(chronicle.events)
    stage.ensure(not stale, f"{len(stale)} decisions of a leader stand in another one's term {at(*stale[:3])}")


async def stop(stage: Stage) -> None:
    chronicle, farm = stage.chronicle, stage.farm
    after = chronicle.sequence
    codes = await farm.stop_workers()
    bad = {worker_id: code for worker_id, code in codes.items() if code != 0}
    stage.ensure(not bad, f"workers did not end in order, by exit code: {bad}")
    await stage.expect(
        lambda: (
            all(find(chronicle.after(after), WorkerStopped, worker_id=name) for name in stage.plan.worker_ids) or None
        ),
        "the farewell of each worker",
        SAID_S_MAX,
    )
    code = await farm.stop_coordinator(stage.leader)
    stage.ensure(code == 0, f"{stage.leader} ended with code {code}: {farm.last_words(stage.leader)}")
    await stage.expect(
        lambda: find(chronicle.after(after), CoordinatorStopped, coordinator_id=stage.leader),
        f"the farewell of {stage.leader}",
        SAID_S_MAX,
    )
    stage.show.passed(f"{stage.plan.workers} workers and {stage.leader} have said goodbye and ended with code 0")
    await stage.stack.aclose()
    left = farm.left_over()
    stage.ensure(not left, f"processes are left: {', '.join(left[:10])}")
    stage.show.passed("the broker has ended, too: no process is left")
