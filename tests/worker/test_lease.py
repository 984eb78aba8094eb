"""What a worker may rely on, against a leader that knows only what was stored, and rules that change under both."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from events.policy import Policy
from events.thresholds import Thresholds, thresholds_for
from worker.lease import BEGIN_WITHIN_BEATS, Lease, keep_s, promised


def rules(interval: float, self_fence_after: float, failed_after: float) -> Thresholds:
    policy = Policy(
        heartbeat_interval=interval,
        suspect_after=interval * 3,
        self_fence_after=self_fence_after,
        failed_after=failed_after,
    )
    return thresholds_for(policy, "w1", {})


DEFAULT = thresholds_for(Policy(), "w1", {})
SHORT = rules(0.2, 1.2, 1.8)
LONG = rules(10.0, 60.0, 75.0)
TIGHT = rules(0.2, 9.2, 9.5)
"""A little shorter than the defaults, and with little between the fence and the end."""


@pytest.mark.parametrize(
    ("interval", "self_fence_after", "failed_after", "expected"),
    [
        (2.0, 12.0, 15.0, 12.0),  # the defaults
        (2.0, 14.5, 15.0, 12.0),  # so near to each other that a task begun late would outlive its worker's failure
        (0.2, 1.2, 1.8, 1.2),
    ],
)
def test_a_keeper_gives_up_before_its_task_may_start_elsewhere(
    interval: float, self_fence_after: float, failed_after: float, expected: float
) -> None:
    limit_s = keep_s(rules(interval, self_fence_after, failed_after))
    assert limit_s == pytest.approx(expected)
    assert limit_s + BEGIN_WITHIN_BEATS * interval <= failed_after + 1e-9


def test_before_the_first_acknowledgement_nothing_may_begin() -> None:
    lease = Lease(100.0, DEFAULT)
    assert lease.until.begin < 100.0
    lease.offer(100.0, DEFAULT)
    assert lease.until.begin < 100.0
    lease.take()
    assert lease.until == promised(100.0, DEFAULT)


def test_shorter_rules_are_in_force_when_they_are_sent() -> None:
    lease = Lease(100.0, DEFAULT)
    lease.offer(100.0, DEFAULT)
    lease.take()
    assert lease.offer(102.0, SHORT), "keepers are to be told"
    assert lease.until == promised(102.0, SHORT)


def test_longer_rules_are_in_force_when_they_are_acknowledged() -> None:
    lease = Lease(100.0, DEFAULT)
    lease.offer(100.0, DEFAULT)
    lease.take()
    assert not lease.offer(102.0, LONG)
    assert lease.until == promised(100.0, DEFAULT)
    lease.take()
    assert lease.until == promised(102.0, LONG)


class Bout:
    """A worker, a broker that may keep heartbeats back, and what a leader may conclude from those that it has stored.

    The leader judges by the rules that the last heartbeat in the stream names, and all that came after them: a
    heartbeat may have been overtaken on its way. It hears of new rules at once, the worker at some time or never.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.rules = [DEFAULT]
        self.known = 0
        self.lease = Lease(self.now, DEFAULT)
        self.on_the_way: list[int] = []
        self.stored: tuple[float, int] | None = None
        """When the last one was, and which rules it names."""
        self.limit_s = 0.0
        """How long a keeper keeps a task that begins now."""
        self.kept_until = 0.0
        """By the keepers of those that run. The agent may be stopped at any time, and they go on by what they know."""

    def act(self, what: str, number: float) -> None:
        getattr(self, what)(number)
        self.judge()

    def wait(self, number: float) -> None:
        self.now += number

    def rule(self, number: float) -> None:
        self.rules.append((SHORT, DEFAULT, LONG, TIGHT)[int(number) % 4])

    def hear(self, number: float) -> None:
        self.known = len(self.rules) - 1

    def beat(self, number: float) -> None:
        """Sent, stored, and acknowledged a while later."""
        self._send()
        self._store(self.known)
        self.now += number / 5
        self.lease.take()
        if self.lease.until.keep > self.now:
            self.limit_s, self.kept_until = self.lease.until.keep - self.now, self.lease.until.keep

    def lose(self, number: float) -> None:
        """Sent and lost."""
        self._send()

    def lose_answer(self, number: float) -> None:
        """Sent and stored, and no answer came."""
        self._send()
        self._store(self.known)

    def stick(self, number: float) -> None:
        """Sent into a connection that hangs."""
        self._send()
        self.on_the_way.append(self.known)

    def arrive(self, number: float) -> None:
        if self.on_the_way:
            self._store(self.on_the_way.pop(int(number) % len(self.on_the_way)))

    def _send(self) -> None:
        if self.lease.offer(self.now, self.rules[self.known]):
            self.limit_s = max(self.lease.until.keep - self.now, 0.0)
            self.kept_until = min(self.kept_until, max(self.lease.until.keep, self.now))

    def _store(self, named: int) -> None:
        self.stored = self.now, named

    def judge(self) -> None:
        """When the leader gives the worker up, all that it had has ended."""
        if self.stored is None:
            assert self.lease.until.begin < 0.0
            return
        at, named = self.stored
        given_up = at + max(one.failed_after for one in self.rules[named:])
        assert self.lease.until.fence < given_up
        assert self.kept_until <= given_up
        if self.lease.until.begin >= self.now:
            assert self.lease.until.begin + self.limit_s <= given_up + 1e-9, "begun as late as it may be"


ACTS = st.tuples(
    st.sampled_from(("wait", "rule", "hear", "beat", "lose", "lose_answer", "stick", "arrive")), st.floats(0.0, 20.0)
)


@settings(max_examples=2000)
@given(st.lists(ACTS, max_size=40))
@example([("beat", 0.0), ("wait", 2.9), ("rule", 3.0), ("hear", 0.0), ("lose_answer", 0.0)])
def test_it_has_fenced_itself_before_anybody_gives_it_up(acts: list[tuple[str, float]]) -> None:
    bout = Bout()
    for what, number in acts:
        bout.act(what, number)
