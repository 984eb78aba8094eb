"""The policy that a worker lives by."""

from events.errors import LogError
from events.log import EventLog
from events.policy import Policy
from events.system import PolicyChanged
from worker.patience import until_answered

TAIL = "system.policy_changed"
SILENCE_S_MAX = 1.0


async def policy_in_force(log: EventLog) -> Policy:
    """The last one that was recorded, the default one where there is none. Waits for as long as the log is away."""
    return await until_answered(lambda: _last(log))


async def _last(log: EventLog) -> Policy:
    last = await log.last_on(TAIL)
    if last is None:
        return Policy()
    if isinstance(last.event, PolicyChanged):
        return last.event.policy
    # Nobody understands what stands there last; for the leader, too, what was said before it is in force.
    policy = Policy()
    async with await log.reader(tails=[TAIL]) as reader:
        while reader.sequence < last.sequence:
            batch = await reader.next(SILENCE_S_MAX)
            if not batch:
                raise LogError(f"the log holds a policy at {last.sequence}, and it does not come")
            for recorded in batch:
                if isinstance(recorded.event, PolicyChanged):
                    policy = recorded.event.policy
    return policy
