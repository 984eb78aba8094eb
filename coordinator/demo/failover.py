"""Killing the coordinator that leads, and starting another one over the same log."""

import signal
import time

from coordinator.demo.farm import alive
from coordinator.demo.findings import find, stale_decisions
from coordinator.demo.killing import POLL_S
from coordinator.demo.opening import keep_busy
from coordinator.demo.stage import Failover, Stage
from coordinator.demo.words import at, ms, several
from events.system import LeaderElected, SystemRecoveryCompleted, SystemRecoveryStarted
from events.task import TaskAttemptFinished

GONE_S_MAX = 10.0
ELECTED_S_MAX = 20.0
CLOSED_S_MAX = 10.0


async def kill_the_leader(stage: Stage) -> None:
    await keep_busy(stage)
    chronicle, farm, former = stage.chronicle, stage.farm, stage.leader
    process = farm.coordinators[former]
    tree = farm.tree(process.pid)
    stage.ensure(bool(tree), f"{former} was not running")
    failover = stage.failover = Failover(time.time(), chronicle.sequence)
    process.send_signal(signal.SIGKILL)
    stage.show.leaderless_since = failover.at
    stage.show.tell(f"SIGKILL for {former}, process {process.pid}; whatever supervises it starts another one")
    await stage.expect(
        lambda: (not alive(tree[1:]) and process.returncode is not None) or None,
        f"the end of {former} and its projector",
        GONE_S_MAX,
        poll_s=POLL_S,
    )
    stage.leader = "coordinator-2"
    await farm.start_coordinator(stage.leader)
    elected = await stage.expect(
        lambda: find(chronicle.after(failover.sequence), LeaderElected),
        f"the election of {stage.leader}",
        ELECTED_S_MAX,
    )
    failover.elected = elected
    stage.show.leaderless_since = None
    stage.ensure(
        elected.event.coordinator_id == stage.leader, f"{elected.event.coordinator_id} was elected, not {stage.leader}"
    )
    between = [one for one in chronicle.after(failover.sequence) if one.sequence < elected.recorded.sequence]
    finished = sum(isinstance(recorded.event, TaskAttemptFinished) for recorded in between)
    stage.show.passed(
        f"{stage.leader} leads, term {elected.event.term}, {ms(elected.recorded.time - failover.at)} after the kill "
        f"{at(elected.recorded)}"
    )
    stage.show.passed(f"the workers went on without a leader: {several(finished, 'test')} ended meanwhile")
    await _incident_closed(stage, elected.recorded.sequence)
    stale = stale_decisions(chronicle.events)
    stage.ensure(not stale, f"{len(stale)} decisions of a leader stand in another one's term {at(*stale[:3])}")
    stage.show.passed("each decision in the log is of the leader of its time: the killed one left none behind")


async def _incident_closed(stage: Stage, after: int) -> None:
    chronicle = stage.chronicle
    opened = await stage.expect(
        lambda: find(chronicle.after(after), SystemRecoveryStarted, incident_kind="coordinator_failover"),
        "the incident coordinator_failover",
        CLOSED_S_MAX,
    )
    closed = await stage.expect(
        lambda: find(chronicle.after(after), SystemRecoveryCompleted, incident_id=opened.event.incident_id),
        f"the end of the incident {opened.event.incident_id}",
        CLOSED_S_MAX,
    )
    stage.ensure(closed.event.success, f"the incident ended without success: {closed.event.message}")
    stage.show.passed(
        f"the log tells of it: incident {opened.event.incident_id}, {opened.event.affected_tasks} tasks under way, "
        f"closed with success {at(opened.recorded, closed.recorded)}"
    )
