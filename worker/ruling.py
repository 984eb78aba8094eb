"""The rules that a worker lives by: the policy and the pace in force, and what they come to for this one worker."""

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from events.base import Event
from events.envelope import Recorded
from events.errors import LogError
from events.log import EventLog
from events.policy import Policy
from events.system import PaceChanged, PolicyChanged
from events.thresholds import Thresholds, thresholds_for
from worker.patience import until_answered

POLICY = "system.policy_changed"
PACE = "system.pace_changed"
TAILS = [POLICY, PACE]
SILENCE_S_MAX = 1.0


class Rules(NamedTuple):
    """What one worker lives by."""

    sequence: int
    """Of the event that made them; 0: none did."""
    thresholds: Thresholds


class Ruling(NamedTuple):
    """What the log says for all workers, at some point of it."""

    sequence: int = 0
    """Of the last event that it rests on."""
    policy: Policy = Policy()
    stretch: float = 1.0

    def after(self, recorded: Recorded) -> "Ruling":
        """The same unless the event changes policy or pace, and is not known already."""
        event = recorded.event
        if recorded.sequence <= self.sequence:
            return self
        if isinstance(event, PolicyChanged):
            return Ruling(recorded.sequence, event.policy, self.stretch)
        if isinstance(event, PaceChanged):
            return Ruling(recorded.sequence, self.policy, event.stretch)
        return self

    def rules_for(self, worker_id: str, labels: Mapping[str, str]) -> Rules:
        return Rules(self.sequence, thresholds_for(self.policy, worker_id, labels, self.stretch))


async def ruling_in_force(log: EventLog) -> Ruling:
    """By what is recorded now; the defaults where nothing is. Waits for as long as the log is away."""
    return await until_answered(lambda: _last(log))


async def policy_in_force(log: EventLog) -> Policy:
    """As `ruling_in_force`, for whom the pace does not concern."""
    return (await ruling_in_force(log)).policy


async def rulings_since(log: EventLog, sequence: int) -> list[Ruling]:
    """What was in force at that place of the log, and all that has been since.

    Raises:
        LogError: the log does not answer.
    """
    last = await _last(log)
    if last.sequence <= sequence:
        return [last]
    history = await _history(log, last.sequence)
    before = [ruling for ruling in history if ruling.sequence <= sequence]
    return [before[-1], *history[len(before) :]]


async def _last(log: EventLog) -> Ruling:
    policy = await log.last_on(POLICY)
    while True:
        pace = await log.last_on(PACE)
        # Two questions are not one moment. A policy that was in force before and after this pace was so with it.
        before, policy = policy, await log.last_on(POLICY)
        if sequence_of(before) == sequence_of(policy):
            break
    if garbled(policy, PolicyChanged) or garbled(pace, PaceChanged):
        # Nobody understands what stands there last; for the leader, too, what was said before it is in force.
        return (await _history(log, max(sequence_of(policy), sequence_of(pace))))[-1]
    ruling = Ruling()
    for recorded in sorted(filter(None, (policy, pace)), key=sequence_of):
        ruling = ruling.after(recorded)
    return ruling


async def _history(log: EventLog, last: int) -> list[Ruling]:
    """From the defaults on."""
    rulings = [Ruling()]
    async for recorded in history(TAILS, log, last):
        ruling = rulings[-1].after(recorded)
        if ruling is not rulings[-1]:
            rulings.append(ruling)
    return rulings


async def history(tails: list[str], log: EventLog, last: int) -> AsyncIterator[Recorded]:
    """What stands on these subjects, from the first to the one at `last`."""
    async with await log.reader(tails=tails) as reader:
        while reader.sequence < last:
            batch = await reader.next(SILENCE_S_MAX)
            if not batch:
                raise LogError(f"the log holds an event at {last} on {' or '.join(tails)}, and it does not come")
            for recorded in batch:
                yield recorded


def sequence_of(recorded: Recorded | None) -> int:
    return 0 if recorded is None else recorded.sequence


def garbled(recorded: Recorded | None, kind: type[Event]) -> bool:
    return recorded is not None and not isinstance(recorded.event, kind)
