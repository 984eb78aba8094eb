"""Mistakes in the supervisor and the agent."""

from tests.simulation.planted.bug import Bug, bug

WORKER: tuple[Bug, ...] = (
    bug(
        "keeper-outlives-worker",
        "A task's keeper is told the wrong limit, which is longer than the leader waits before it gives the task away.",
        (
            "worker.lease:keep_s",
            "return min(thresholds.self_fence_after, latest_s)",
            "return thresholds.first_heartbeat_timeout",
        ),
    ),
    bug(
        "old-tasks-run-on",
        "An agent that was given up registers anew without stopping what it had.",
        ("worker.agent:Agent._renew", "await tenure.discard()", ""),
    ),
    bug(
        "unacknowledged-report-dropped",
        "A report that the log has not acknowledged in time, or refuses, counts as delivered.",
        (
            "worker.outbox:Outbox._deliver",
            """
            if isinstance(error, BrokerRefused):
                logger.warning("append_refused", events=len(self._in_flight), error=str(error))
            """,
            """
            logger.warning("append_refused", events=len(self._in_flight), error=str(error))
            return
            """,
        ),
    ),
    bug(
        "exit-before-sweep",
        "The end of an agent is reported without sweeping up what it has left.",
        ("worker.supervision:Supervisor._take_leave", "left = self._processes.sweep()", "left: list[int] = []"),
    ),
)
