"""The policy at run time: what is in force, what was, and changing it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from coordinator.config import changed_policy
from coordinator.faults import Fault
from coordinator.orders.giving import PATIENCE_S
from coordinator.orders.order import Prose
from events.clock import utc
from events.envelope import Recorded
from events.errors import Fenced, LogError
from events.log import EventLog, Fence
from events.policy import Policy, policy_hash
from events.system import PolicyChanged
from events.writer import Writer, append_until_stored

TAIL = "system.policy_changed"
SILENCE_S_MAX = 2.0
TRIES_MAX = 10


class PolicyContended(Fault):
    """Others changed it again and again while it was being changed."""


class PolicyInForce(msgspec.Struct, frozen=True, kw_only=True):
    """A policy, and who put it in force. `sequence` 0: nobody did, these are the defaults."""

    sequence: int
    at: datetime | None
    actor: str
    reason: str
    policy_hash: str
    policy: Policy


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    setting: str
    before: Any
    after: Any


class PolicyOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /api/policy`."""

    set: Annotated[dict[str, Any], Meta(min_length=1, max_length=200)]
    """Settings by name; `"default"` stands for the default."""
    actor: Prose = ""
    reason: Prose = ""


class PolicyReport(msgspec.Struct, frozen=True, kw_only=True):
    in_force: PolicyInForce
    differences: tuple[Difference, ...]
    """What has been changed; none: it was so already, and nothing is recorded."""


NOBODY = PolicyInForce(
    sequence=0, at=None, actor="nobody", reason="", policy_hash=policy_hash(Policy()), policy=Policy()
)


async def history(log: EventLog) -> list[PolicyInForce]:
    """All that there ever were, from the defaults on.

    Raises:
        LogError: the log does not answer.
    """
    found = [NOBODY]
    last = await log.last_on(TAIL)
    if last is None:
        return found
    async with await log.reader(tails=[TAIL]) as reader:
        while reader.sequence < last.sequence:
            batch = await reader.next(SILENCE_S_MAX)
            if not batch:
                raise LogError(f"the log holds a change of policy at {last.sequence}, and it does not come")
            found += [_in_force(one, one.event) for one in batch if isinstance(one.event, PolicyChanged)]
    return found


def _in_force(recorded: Recorded, event: PolicyChanged) -> PolicyInForce:
    return PolicyInForce(
        sequence=recorded.sequence,
        at=utc(recorded.time),
        actor=event.actor,
        reason=event.reason,
        policy_hash=event.policy_hash,
        policy=event.policy,
    )


def differences(before: Policy, after: Policy) -> tuple[Difference, ...]:
    return tuple(
        Difference(setting=name, before=getattr(before, name), after=getattr(after, name))
        for name in before.__struct_fields__
        if getattr(before, name) != getattr(after, name)
    )


async def change(log: EventLog, order: PolicyOrder, source: str, *, where: str) -> PolicyReport:
    """Changes the settings named, and leaves the others as they are, whoever changes them at the same time. `where`
    says in complaints who gave the settings.

    Raises:
        UsageFault: such a policy cannot be; nothing was recorded.
        PolicyContended: it changed again and again meanwhile.
        LogError: the log did not take it.
    """
    for _ in range(TRIES_MAX):
        last = await log.last_on(TAIL)
        present = (await history(log))[-1]
        policy = changed_policy(present.policy, order.set, where)
        changes = differences(present.policy, policy)
        if not changes:
            return PolicyReport(in_force=present, differences=())
        event = PolicyChanged(policy=policy, policy_hash=policy_hash(policy), actor=order.actor, reason=order.reason)
        draft = Writer(log, source[:128]).draft(event)
        fence = Fence(TAIL, 0 if last is None else last.sequence)
        try:
            await append_until_stored(log, [draft], fence=fence, patience_s=PATIENCE_S)
        except Fenced:
            if not await _stored(log, draft.envelope.id):
                continue
        made = next(one for one in reversed(await history(log)) if one.policy_hash == event.policy_hash)
        return PolicyReport(in_force=made, differences=changes)
    raise PolicyContended("the policy was changed by others again and again meanwhile: try again")


async def _stored(log: EventLog, event_id: str) -> bool:
    """Whether a try whose answer was lost had gone through before the fence fell."""
    await asyncio.sleep(0)
    last = await log.last_on(TAIL)
    return last is not None and last.id == event_id


def find(known: Sequence[PolicyInForce], sequence: int) -> PolicyInForce | None:
    """What was in force behind that event; None: there was no such event yet."""
    return next((one for one in reversed(known) if one.sequence <= sequence), None)


def shown(value: Any) -> str:
    """A setting's value in a word."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    return msgspec.json.encode(value).decode()


def as_settings(policy: Policy) -> Mapping[str, Any]:
    return {name: getattr(policy, name) for name in policy.__struct_fields__}
