"""Deciding everything again: the recorded decisions must be what the rules give for what the leader had seen.

Each batch of decisions says how far both streams had been folded (`as_of`) and at what time it was decided. The
verifier folds to there, and no further, decides, and compares event by event.
"""

from collections import deque
from itertools import zip_longest
from typing import Any

import msgspec

from events.clock import seconds
from events.envelope import Envelope, Provenance, Recorded
from events.log import EventLog
from events.worker import RecordedHeartbeat
from recovery.core import RULES_VERSION, Decision, decide, evolve, observe, recall_beats
from recovery.entities import Worker
from recovery.lifecycle import LIVE
from recovery.state import State
from replay.beat_fold import BeatFold
from replay.beats import Beats
from replay.reading import Progress, stretch


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first decision that is not what the rules give. None on one side: nothing was decided there."""

    sequence: int
    what: str
    expected: Any = None
    recorded: Any = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    first: int
    last: int
    batches: int
    """Compared and equal."""
    decisions: int
    skipped: int
    """Batches that depend on heartbeats that are gone: they have expired, or the broker has lost them."""
    difference: Difference | None = None
    obstacle: str | None = None
    """Why the whole stretch could not be verified."""

    def sentence(self) -> str:
        done = f"{self.decisions} decisions in {self.batches} batches verified between {self.first} and {self.last}"
        if self.difference is not None:
            one = self.difference
            return (
                f"different at sequence {one.sequence}: {one.what}\n"
                f"  expected: {_shown(one.expected)}\n"
                f"  recorded: {_shown(one.recorded)}\n"
                f"before it, {done}"
            )
        if self.obstacle is not None:
            return f"cannot verify: {self.obstacle}; {done}"
        return f"all equal: {done}"


class Heard:
    """Keeps `replay.beat_fold.Memory`: the part of a state that heartbeats make."""

    def __init__(self, state: State) -> None:
        self._state = state

    def hear(self, recorded: RecordedHeartbeat) -> None:
        observe(self._state, recorded)

    def recall(self, other: "Heard") -> None:
        recall_beats(self._state, other._state)


class Verifier:
    """Takes the log in order, from its first event, and compares each batch of decisions from `first` on."""

    def __init__(self, beats: Beats, *, first: int = 1) -> None:
        self.batches = 0
        self.decisions = 0
        self.skipped = 0
        self.lost = 0
        """Of those skipped, the ones that rest on heartbeats that the broker has lost."""
        self.verifiable_from = 0
        """The sequence behind the last batch skipped."""
        self.difference: Difference | None = None
        self.obstacle: str | None = None
        self._beats = beats
        self._first = first
        self._state = State()
        self._fold = BeatFold(Heard(self._state), Heard(State()))
        self._unfolded: deque[Recorded] = deque()
        self._batch: list[Recorded] = []
        self._first_beat_at: float | None = None

    @property
    def done(self) -> bool:
        return self.difference is not None or self.obstacle is not None

    async def take(self, recorded: Recorded) -> None:
        self._unfolded.append(recorded)
        provenance = None if recorded.envelope is None else recorded.envelope.decision
        expected_index = len(self._batch)
        if self._batch and (provenance is None or provenance.index != expected_index):
            self._differ(recorded.sequence, f"a batch breaks off after {expected_index} decisions", None, recorded)
            return
        if provenance is None:
            return
        if provenance.index != expected_index:
            self._differ(recorded.sequence, f"a batch begins with decision {provenance.index}", None, recorded)
            return
        self._batch.append(recorded)
        if len(self._batch) == provenance.count:
            batch, self._batch = self._batch, []
            await self._compare(batch, provenance)

    async def _compare(self, batch: list[Recorded], provenance: Provenance) -> None:
        same_beats = await self._fold_to(provenance)
        sequence = batch[0].sequence
        if sequence < self._first:
            return
        if provenance.rules_version != RULES_VERSION:
            self.obstacle = (
                f"the decisions at {sequence} were made by rules of version {provenance.rules_version}, this program "
                f"has version {RULES_VERSION}; verify them with the program that made them"
            )
            return
        if self._state.rules.missing:
            self.obstacle = (
                f"the decisions at {sequence} rest on detectors that are not installed here: "
                f"{', '.join(self._state.rules.missing)}; verify them where they are (entry point group "
                f"resurgam.detectors)"
            )
            return
        if self._state.events_sequence > provenance.as_of_events:
            self._differ(
                sequence,
                f"decided on the log up to {provenance.as_of_events}, and an earlier batch on "
                f"{self._state.events_sequence} already",
                None,
                batch[0],
            )
            return
        if provenance.as_of_heartbeats < self._beats.first - 1:
            self._skip(batch)
            return
        if not same_beats:
            self.lost += 1
            self._skip(batch)
            return
        expected = decide(self._state, seconds(provenance.decided_at))
        found = _difference(expected, batch)
        if found is not None and self._expired_beats_matter():
            self._skip(batch)
        elif found is not None:
            self.difference = found
        else:
            self.batches += 1
            self.decisions += len(batch)

    async def _fold_to(self, provenance: Provenance) -> bool:
        """Whether the heartbeats are those that the leader had read."""
        while self._unfolded and self._unfolded[0].sequence <= provenance.as_of_events:
            evolve(self._state, self._unfolded.popleft())
        as_of, at = provenance.as_of_heartbeats, provenance.as_of_heartbeats_at
        for beat in await self._beats.through(as_of):
            self._note(beat)
            self._fold.push(beat)
        return self._fold.stand_at(as_of, at if as_of >= self._beats.first else None)

    def _note(self, beat: RecordedHeartbeat) -> None:
        if self._first_beat_at is None:
            self._first_beat_at = beat.time

    def _expired_beats_matter(self) -> bool:
        """Whether some live worker's last heartbeat, or another that its silence is judged by, may be among those that
        have expired."""
        if self._beats.first - 1 <= self._state.loss.through:
            return False
        since = float("inf") if self._first_beat_at is None else self._first_beat_at
        return any(
            worker.status in LIVE and worker.registered_at < since and not self._heard_enough(worker)
            for worker in self._state.workers.values()
        )

    def _heard_enough(self, worker: Worker) -> bool:
        """Heartbeats before those that are known cannot matter."""
        arrivals = self._state.arrivals.get(worker.worker_id)
        return arrivals is not None and arrivals.incarnation >= worker.incarnation and arrivals.full

    def _skip(self, batch: list[Recorded]) -> None:
        self.skipped += 1
        self.verifiable_from = batch[-1].sequence + 1

    def _differ(self, sequence: int, what: str, expected: Decision | None, recorded: Recorded | None) -> None:
        self.difference = Difference(
            sequence=sequence, what=what, expected=_decided(expected), recorded=_recorded(recorded)
        )


async def verify(
    log: EventLog, beats: Beats, *, first: int = 1, last: int | None = None, progress: Progress | None = None
) -> Outcome:
    """Verifies the decisions at `first` to `last`. Always folds from the beginning: that is what a state is."""
    end = await log.last_sequence() if last is None else last
    verifier = Verifier(beats, first=first)
    async for batch in stretch(log, last=end, progress=progress):
        for recorded in batch:
            await verifier.take(recorded)
            if verifier.done:
                break
        if verifier.done:
            break
    obstacle = verifier.obstacle
    if obstacle is None and verifier.skipped:
        obstacle = f"{_skipped(verifier, beats)}; --from {verifier.verifiable_from} leaves them out"
    return Outcome(
        first=first,
        last=end,
        batches=verifier.batches,
        decisions=verifier.decisions,
        skipped=verifier.skipped,
        difference=verifier.difference,
        obstacle=obstacle,
    )


def _skipped(verifier: Verifier, beats: Beats) -> str:
    expired = verifier.skipped - verifier.lost
    reasons = []
    if expired:
        reasons.append(f"{expired} batches rest on heartbeats before {beats.first}, which have expired")
    if verifier.lost:
        reasons.append(f"{verifier.lost} batches rest on heartbeats that the broker has lost")
    return " and ".join(reasons)


def _difference(expected: list[Decision], batch: list[Recorded]) -> Difference | None:
    for decision, recorded in zip_longest(expected, batch):
        sequence = (recorded or batch[-1]).sequence
        what = _what_differs(decision, recorded)
        if what is not None:
            return Difference(sequence=sequence, what=what, expected=_decided(decision), recorded=_recorded(recorded))
    return None


def _what_differs(decision: Decision | None, recorded: Recorded | None) -> str | None:
    if decision is None:
        return "the rules decide nothing more here"
    if recorded is None:
        return "the rules decide more than was recorded"
    envelope = recorded.envelope
    assert envelope is not None
    assert envelope.decision is not None
    pairs = (
        ("the event", decision.event, envelope.event),
        ("the rule", decision.rule, envelope.decision.rule),
        ("the cause", decision.causation_id, envelope.causation_id),
        ("the correlation", decision.correlation_id, envelope.correlation_id),
        ("the synthetic label", decision.synthetic, recorded.synthetic),
    )
    names = [name for name, wanted, given in pairs if wanted != given]
    return f"{' and '.join(names)} differ{'s' if len(names) == 1 else ''}" if names else None


def _decided(decision: Decision | None) -> Any:
    if decision is None:
        return None
    return {
        "event": decision.event,
        "rule": decision.rule,
        "causation_id": decision.causation_id,
        "correlation_id": decision.correlation_id,
        "synthetic": decision.synthetic,
    }


def _recorded(recorded: Recorded | None) -> Any:
    envelope: Envelope | None = None if recorded is None else recorded.envelope
    if recorded is None or envelope is None:
        return None
    return {
        "event": envelope.event,
        "rule": None if envelope.decision is None else envelope.decision.rule,
        "causation_id": envelope.causation_id,
        "correlation_id": envelope.correlation_id,
        "synthetic": recorded.synthetic,
    }


def _shown(side: Any) -> str:
    return "nothing" if side is None else msgspec.json.encode(side).decode()
