"""Mistakes about who is a worker: how an id goes from one process to the next, and by which rules a worker lives."""

from tests.simulation.planted.bug import Bug, bug

CLAIMS: tuple[Bug, ...] = (
    bug(
        "older-not-told",
        "A new process waits for the end of the one that has its id, and does not say so.",
        (
            "worker.succession:Succession._settle",
            """
            if present.sequence > self._claimed:
                await self._claim(present)
                continue  # somebody else may have registered until then
            """,
            "",
        ),
    ),
    bug(
        "newer-does-not-wait",
        "A new process says that the id is its own now, and goes ahead.",
        (
            "worker.succession:Succession._settle",
            "if self._gone(event) or await until_answered(partial(self._fenced, present, event)):",
            "if present.sequence <= self._claimed:",
        ),
    ),
    bug(
        "newer-waits-too-short",
        "A new process takes one that is silent for gone when others would only suspect it.",
        (
            "worker.succession:Succession._fenced",
            "return self._now() - self._heard[1] >= longest.failed_after",
            "return self._now() - self._heard[1] >= longest.suspect_after",
        ),
    ),
    bug(
        "claim-ignored",
        "A worker that is told to go, because its id was claimed, stays.",
        (
            "worker.agent:Agent._handle",
            """
            elif isinstance(event, WorkerClaimed):
                if event.incarnation >= tenure.incarnation:
                    await self._give_way(tenure, recorded, event)
            """,
            "",
        ),
        (
            "worker.supervision:Supervisor._note",
            """
            elif isinstance(event, WorkerClaimed):
                if self._succession.comes_after_us(recorded):
                    self._give_way(recorded, event)
            """,
            "",
        ),
    ),
    bug(
        "claim-taken-for-all",
        "A process that has claimed an id takes whoever registered before the claim was stored for one that heeds it.",
        (
            "worker.succession:Succession._settle",
            "if present.sequence > self._claimed:",
            "if present.sequence > self._settled:",
        ),
        (
            "worker.succession:Registration._was_claimed",
            "and claim.event.incarnation >= last.sequence",
            "",
        ),
    ),
    bug(
        "all-give-way",
        "Of several processes that come at once, each takes another one that was faster for newer, and leaves.",
        (
            "worker.supervision:Supervisor._take_leave",
            """
            if word == "superseded" and not self._incarnation and not self._superseded:
                self._start(self._claim_again())
            elif self._superseded or word == "superseded":
            """,
            'if self._superseded or word == "superseded":',
        ),
        (
            "worker.supervision:Supervisor._note",
            "if foreign and self._incarnation:  # else the agent finds out whether it comes too late",
            "if foreign:",
        ),
    ),
    bug(
        "unreadable-hides-registration",
        "What cannot be read in the place of a registration counts as none, whoever had registered before it.",
        ("worker.succession:last_registration", "found = None", "return None"),
    ),
    bug(
        "comes-back-by-itself",
        "An agent that was given up registers anew, although another process has taken its place.",
        (
            "worker.succession:Registration.store",
            """
            if known is not None and not await until_answered(partial(self._is_settled, known)):
                raise Taken(known)
            """,
            "",
        ),
    ),
    bug(
        "registers-without-comparing",
        "A registration is stored whether or not somebody else has registered since its agent looked.",
        (
            "worker.succession:Registration.store",
            "return (await append_until_stored(self._log, [draft], fence=fence)).last",
            "return (await append_until_stored(self._log, [draft])).last",
        ),
    ),
    bug(
        "confirms-what-it-does-not-live-by",
        "A worker's heartbeats name the rules in force, while it goes on living by those of its registration.",
        (
            "worker.lease:Lease.offer",
            "self._offered = sent_at, thresholds",
            """
            thresholds = self._offered[1]
            self._offered = sent_at, thresholds
            """,
        ),
    ),
)
