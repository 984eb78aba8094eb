"""Mistakes in what drives the core, elects the leader, reads the log and keeps the tables."""

from tests.simulation.planted.bug import Bug, bug

LEADER: tuple[Bug, ...] = (
    bug(
        "disconnection-taken-for-death",
        "A worker whose connections were closed counts as gone, unless somebody testifies that it lives.",
        (
            "coordinator.disconnections:DisconnectionWatch._search",
            "if held is False:",
            "if held is not True:",
        ),
    ),
    bug(
        "fence-not-sent",
        "Batches of decisions are appended without the fencing token: the lease was checked a moment ago.",
        (
            "recovery.consumer:RecoveryConsumer._append",
            "await self._log.append(drafts, fence=Fence(LEADER_TAIL, term.token))",
            "await self._log.append(drafts)",
        ),
    ),
    bug(
        "decides-before-reading-back",
        "The next cycle begins when a batch is acknowledged, without waiting for it to come by.",
        (
            "recovery.consumer:RecoveryConsumer._lead_once",
            "reading = await self._read_back(reading)",
            """
            self._unsettled = None
            return reading
            """,
        ),
    ),
    bug(
        "silence-taken-for-consent",
        "A batch that was not acknowledged in time counts as stored, and its leader waits for it to come by.",
        (
            "recovery.consumer:RecoveryConsumer._append",
            'log.info("append_unacknowledged", error=str(error))',
            """
            log.info("append_unacknowledged", error=str(error))
            return True
            """,
        ),
    ),
    bug(
        "decided-by-wall-clock",
        "The time of a decision is read from the coordinator's own clock.",
        (
            "recovery.consumer:RecoveryConsumer._drafts",
            "now = self.clock.now()",
            """
            from events.host import host

            now = host().wall()
            """,
        ),
    ),
    bug(
        "leads-before-catching-up",
        "A new leader decides as soon as it is elected, before it has folded the log up to its own election.",
        (
            "recovery.consumer:RecoveryConsumer._lead_once",
            "if term is None or self.state.fencing_token != term.token or not term.holds():",
            "if term is None or not term.holds():",
        ),
    ),
    bug(
        "lost-lease-not-won-back",
        "A candidate whose lease has expired goes on naming its last renewal, which is not there any more.",
        (
            "events.lease:Lease._try",
            """
            self._sequence = 0
            self._valid_until = 0.0
            """,
            "self._valid_until = 0.0",
        ),
    ),
)

READER: tuple[Bug, ...] = (
    bug(
        "hole-not-noticed",
        "Deliveries only have to be numbered upwards, so what a reconnection swallowed is never asked for again.",
        (
            "events.reader:RawReader._deliver",
            "if consumer_sequence != self._consumer_sequence + 1:",
            "if consumer_sequence <= self._consumer_sequence:",
        ),
    ),
    bug(
        "delivered-twice",
        "The message that a new consumer begins with, for it to be recognised, is handed on as if it were new.",
        (
            "events.reader:RawReader._deliver",
            """
            if not self._confirmed:
                self._take_again(sequence, time_ns, pending=int(fields[-1]))
                return
            if sequence <= self._received:
                return
            if not self._filters and sequence != self._received + 1:
            """,
            """
            if not self._confirmed:
                self._take_again(sequence, time_ns, pending=int(fields[-1]))
            if not self._filters and sequence > self._received + 1:
            """,
        ),
    ),
)

PROJECTOR: tuple[Bug, ...] = (
    bug(
        "position-saved-apart",
        "The position in the log is saved in a transaction of its own, before the one that holds the rows.",
        (
            "projections.database:Database.store",
            """
            moved = self._one(
                "UPDATE position SET sequence = ?, event_id = ? WHERE sequence = ?",
                [*made.position, self.position.sequence],
            )
            assert moved == (1,), "the position was moved by somebody else"
            """,
            "",
        ),
        (
            "projections.projector:Projector._apply",
            "await self._in_thread(database.store, database.made(batch))",
            """
            await self._in_thread(
                database._one,
                "UPDATE position SET sequence = ?, event_id = ?",
                [batch[-1].sequence, batch[-1].id],
            )
            await self._in_thread(database.store, database.made(batch))
            """,
        ),
    ),
    bug(
        "open-rows-forgotten",
        "A restarted projector does not read back which recoveries of tasks are open, and never closes them.",
        (
            "projections.database:Database._load",
            'open_task_recoveries=self._select(TASK_RECOVERIES, "success IS NULL"),',
            "",
        ),
    ),
    bug(
        "parked-dropped",
        "A message that cannot be understood is skipped instead of parked.",
        ("projections.mapping:apply", "rows.changes.parked.append(_parked(recorded))", ""),
    ),
)
