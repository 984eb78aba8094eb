"""Whether anything may be done about failures: the policy in force and an operator's pause, for a supervisor."""

from typing import NamedTuple

from events.envelope import Recorded
from events.log import EventLog
from events.policy import Policy
from events.system import PolicyChanged, RecoveryPaused, RecoveryResumed
from worker.patience import until_answered
from worker.ruling import POLICY, garbled, history, policy_in_force, sequence_of

PAUSED = "system.recovery_paused"
RESUMED = "system.recovery_resumed"
SWITCHES = (POLICY, PAUSED, RESUMED)


class Switches(NamedTuple):
    policy: Policy = Policy()
    paused: bool = False
    """An operator has halted recovery, whatever the policy says."""

    @property
    def may_repair(self) -> bool:
        return self.policy.auto_recovery and not self.paused

    def after(self, recorded: Recorded) -> "Switches":
        event = recorded.event
        if isinstance(event, PolicyChanged):
            return self._replace(policy=event.policy)
        if isinstance(event, RecoveryPaused | RecoveryResumed):
            return self._replace(paused=isinstance(event, RecoveryPaused))
        return self


async def switches_in_force(log: EventLog) -> Switches:
    """By what is recorded now. Waits for as long as the log is away."""
    return Switches(await policy_in_force(log), await until_answered(lambda: _paused(log)))


async def _paused(log: EventLog) -> bool:
    paused, resumed = await log.last_on(PAUSED), await log.last_on(RESUMED)
    if not garbled(paused, RecoveryPaused) and not garbled(resumed, RecoveryResumed):
        return sequence_of(paused) > sequence_of(resumed)
    # Nobody understands what stands there last; what was said before it holds.
    switches = Switches()
    async for recorded in history([PAUSED, RESUMED], log, max(sequence_of(paused), sequence_of(resumed))):
        switches = switches.after(recorded)
    return switches.paused
