"""Checking the invariants of a whole log, and of what follows."""

from collections.abc import Callable

from events.envelope import Recorded
from events.log import EventLog
from events.stored import stream_extent
from events.worker import RecordedHeartbeat
from replay.beats import Beats, StreamBeats
from replay.invariants import INVARIANTS, Checker, Violation
from replay.reading import Progress, stretch

Report = Callable[[Violation], None]


class FollowingBeats(StreamBeats):
    """Keeps `Beats` over a stream that grows: what a decision rests on is there, however late it was written."""

    async def through(self, sequence: int) -> list[RecordedHeartbeat]:
        if sequence > self.last:
            self.last = (await stream_extent(self._bus, self._streams.heartbeats)).last_seq
        return await super().through(sequence)


class Check:
    """One checking of a log: `run` to its end, then, for as long as wanted, `follow`.

    `report` is told of each violation at `first` or behind it, as it is found.
    """

    def __init__(self, log: EventLog, beats: Beats, report: Report, *, first: int = 1) -> None:
        self.checker = Checker(reproduce=True, beats_from=beats.first)
        self.found = 0
        self.names: dict[str, int] = {}
        """How many violations of each invariant, in the order in which they were found first."""
        self._log = log
        self._beats = beats
        self._report = report
        self._first = first
        self._sequence = 0

    async def run(self, *, at_rest: bool = False, progress: Progress | None = None) -> None:
        """`at_rest`: the log is that of a system where all is over; then nothing may be left undone."""
        async for batch in stretch(self._log, progress=progress):
            for recorded in batch:
                await self._take(recorded)
        if at_rest:
            self.checker.at_rest()
            self._tell()

    async def follow(self) -> None:
        """Never returns.

        Raises:
            LogError: the log cannot be read any more.
        """
        async with await self._log.reader(self._sequence) as reader:
            while True:
                for recorded in await reader.next():
                    await self._take(recorded)

    async def _take(self, recorded: Recorded) -> None:
        self._sequence = recorded.sequence
        decision = None if recorded.envelope is None else recorded.envelope.decision
        if decision is not None and decision.index == 0:
            for beat in await self._beats.through(decision.as_of_heartbeats):
                self.checker.observe(beat)
        self.checker.feed(recorded)
        self._tell()

    def _tell(self) -> None:
        violations = self.checker.violations
        for violation in violations:
            if violation.sequence >= self._first:
                self.found += 1
                self.names[violation.invariant] = self.names.get(violation.invariant, 0) + 1
                self._report(violation)
        violations.clear()

    def advice(self) -> list[str]:
        """What to do about what was found: each piece of advice once, with the invariants that call for it."""
        names: dict[str, list[str]] = {}
        for name in self.names:
            names.setdefault(INVARIANTS[name].advice, []).append(name)
        return [f"{', '.join(several)}: {advice}" for advice, several in names.items()]

    def summary(self) -> str:
        """One line: what was checked and what came of it."""
        checker = self.checker
        checked = (
            f"checked {checker.events} events, {checker.decisions} decisions in {checker.batches} batches, "
            f"{checker.heartbeats} heartbeats"
        )
        if checker.unreproduced:
            checked += f" ({checker.unreproduced} batches could not be decided again)"
        if checker.unjudged:
            checked += f" ({checker.unjudged} decisions could not be judged)"
        if not self.found:
            return f"{checked}: every invariant holds"
        names = ", ".join(f"{name} {count}" for name, count in self.names.items())
        return f"{checked}: {self.found} violation{'s' if self.found > 1 else ''} ({names})"
