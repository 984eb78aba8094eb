"""Given these changes of the policy, `policy_history` holds these rows."""

from events.policy import Policy
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
