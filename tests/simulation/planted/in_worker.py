"""Mistakes in the supervisor and the agent."""

from tests.simulation.planted.bug import Bug, bug

WORKER: tuple[Bug, ...] = (
    bug(
        "keeper-outlives-worker",
        "A task's keeper is told the wrong limit, which is longer than the leader waits before it gives the task away.",
        (
            "worker.beats:keeper_fence_s",
            "return min(policy.self_fence_after, policy.failed_after - START_WITHIN_BEATS * policy.heartbeat_interval)",
            "return policy.first_heartbeat_timeout",
        ),
    ),
    bug(
        "unacknowledged-beat-counts",
        "A heartbeat that was sent counts for the fence, acknowledged or not.",
        (
            "worker.beats:Heart._send",
            """
            logger.info("heartbeat_unacknowledged", beat=self._beat, error=str(error))
            return False
            """,
            'logger.info("heartbeat_unacknowledged", beat=self._beat, error=str(error))',
        ),
    ),
    bug(
        "old-tasks-run-on",
        "An agent that was given up registers anew without stopping what it had.",
        ("worker.agent:Agent._renew", "await tenure.discard()", ""),
    ),
    bug(
        "order-to-predecessor-obeyed",
        "An assignment is taken without looking for which incarnation it was meant.",
        (
            "worker.agent:Agent._handle",
            """
            if event.incarnation == tenure.incarnation:
                tenure.assign(recorded, event)
            """,
            "tenure.assign(recorded, event)",
        ),
    ),
    bug(
        "report-lost-at-reconnection",
        "What was under way when the connection broke counts as delivered.",
        ("worker.outbox:Outbox._append", "return await self._log.append(self._in_flight)", "return None"),
    ),
    bug(
        "exit-before-sweep",
        "The end of an agent is reported without sweeping up what it has left.",
        ("worker.supervision:Supervisor._take_leave", "left = self._processes.sweep()", "left: list[int] = []"),
    ),
    bug(
        "time-limit-dropped",
        "A task's time limit is not handed to whoever runs it.",
        (
            "worker.tenure:_job",
            "return CommandJob(assignment.key, work.argv, work.cwd, tuple(work.environment.items()), timeout_s)",
            "return CommandJob(assignment.key, work.argv, work.cwd, tuple(work.environment.items()))",
        ),
    ),
)
