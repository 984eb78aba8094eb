"""Given these changes of the policy, `policy_history` holds these rows."""

import msgspec

from events.policy import Override, Policy
from events.system import PolicyChanged
from tests.projections.histories import at, changes


def changed(policy: Policy, actor: str = "alice") -> PolicyChanged:
    return PolicyChanged(policy=policy, policy_hash="abc", actor=actor)


def test_changes_against_the_policy_before() -> None:
    first, second, third = changes(
        changed(Policy(), "coordinator/c1"),
        changed(Policy(recovery_interval=30.0, verdict_retries=1)),
        changed(Policy(recovery_interval=30.0, verdict_retries=1)),
    ).policies
    assert (first.sequence, first.changed_at, first.actor, first.changes) == (1, at(1), "coordinator/c1", None)
    assert first.policy["recovery_interval"] == 60.0
    assert second.changes == {"recovery_interval": [60.0, 30.0], "verdict_retries": [0, 1]}
    assert third.changes == {}


def test_a_policy_is_what_the_table_holds_of_it() -> None:
    """The next change is compared with the row that a restarted projector reads back."""
    (row,) = changes(changed(Policy(overrides=(Override(worker="*1", failed_after=25.0),)))).policies
    assert msgspec.json.decode(msgspec.json.encode(row.policy)) == row.policy
