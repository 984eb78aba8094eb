"""Mistakes in what leaders write down of their fold, and in how the next ones begin from it."""

from tests.simulation.planted.bug import Bug, bug

SNAPSHOTS: tuple[Bug, ...] = (
    bug(
        "turns-forgotten",
        "The workers that have room are put into the order of their names, whoever's turn it was.",
        (
            "recovery.frozen:_relink",
            "level: OrderedDict((worker_id, state.workers[worker_id]) for worker_id in workers)",
            "level: OrderedDict((worker_id, state.workers[worker_id]) for worker_id in sorted(workers))",
        ),
    ),
    bug(
        "tail-read-from-the-end",
        "Behind a snapshot the log is read from where it ends by now, and what came since is skipped.",
        (
            "recovery.snapshots:Seeker._beginning",
            "return Beginning(state, header.position, state.heartbeats_sequence, after_ns, header, parts)",
            """
            end = Position(await self._log.last_sequence(), header.event_id)
            return Beginning(state, end, state.heartbeats_sequence, after_ns, header, parts)
            """,
        ),
    ),
)
