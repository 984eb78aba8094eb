"""Mistakes in what leaders write down of their fold, and in how the next ones begin from it."""

from tests.simulation.planted.bug import Bug, bug

SNAPSHOTS: tuple[Bug, ...] = (
    bug(
        "lost-tasks-not-thawed",
        "The index of tasks that have lost their worker is left to be filled as events come.",
        (
            "recovery.frozen:_relink",
            """
            for name, kind in _LINES.items():
                setattr(state, name, kind.of(state.tasks[task_id] for task_id in getattr(facts, name)))
            """,
            "state.waiting = WaitingTasks.of(state.tasks[task_id] for task_id in facts.waiting)",
        ),
    ),
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
        "snapshot-by-sequence-only",
        "Heartbeats in a snapshot count as read, whether or not the stream still holds the last of them.",
        (
            "recovery.snapshots:Seeker._heartbeats",
            "return await self._place_of(header.heartbeats, header.heartbeats_at)",
            "return HeartbeatPlace(stands=True)",
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
    bug(
        "snapshot-of-half-a-batch",
        "The position is taken from what was decided last instead of from what was folded last.",
        (
            "coordinator.snapshots:SnapshotKeeper.take",
            "state, position, notes = consumer.state, consumer.position, self._notes",
            """
            state, position, notes = consumer.state, consumer.position, self._notes
            position = position._replace(sequence=max(1, position.sequence - 1))
            """,
        ),
        (
            "recovery.snapshots:Seeker._in_log",
            "return await verify_position(self._log, position)",
            "return position.sequence <= await self._log.last_sequence()",
        ),
        (
            "recovery.snapshots:Seeker._beginning",
            """
            if (state.events_sequence, state.heartbeats_sequence) != (header.events, header.heartbeats):
                raise Unusable("its header speaks of another state than it holds")
            """,
            "",
        ),
    ),
)
