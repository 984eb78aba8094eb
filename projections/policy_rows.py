"""Changes of the policy, and the table `policy_history`."""

import msgspec

from events.envelope import Recorded
from events.system import PolicyChanged
from projections.rows import Details, PolicyRow
from projections.working_set import Handlers, WorkingSet, microseconds


def changed(rows: WorkingSet, at: Recorded, event: PolicyChanged) -> None:
    policy: Details = msgspec.json.decode(msgspec.json.encode(event.policy))
    before = rows.policy
    changes = None
    if before is not None:
        names = sorted(before.keys() | policy.keys())
        changes = {name: [before.get(name), policy.get(name)] for name in names if before.get(name) != policy.get(name)}
    rows.policy = policy
    rows.changes.policies.append(
        PolicyRow(
            sequence=at.sequence,
            changed_at=microseconds(at.time),
            policy_hash=event.policy_hash,
            actor=event.actor,
            changes=changes,
            policy=policy,
            synthetic=at.synthetic,
        )
    )


HANDLERS: Handlers = {PolicyChanged: changed}
