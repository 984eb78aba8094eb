"""Orders: what is recorded for whom, what is said of it, and over HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, get_args

import msgspec
import pytest

from coordinator.faults import UsageFault
from coordinator.health import HealthReport
from coordinator.http import HttpServer, listen
from coordinator.orders.folded import folded
from coordinator.orders.giving import Desk, give
from coordinator.orders.http import BODY_BYTES_MAX, routes
from coordinator.orders.order import Order, Word
from coordinator.orders.plan import Answer, Step, chosen, plan_of
from coordinator.orders.policies import PolicyOrder, change, differences, find, history
from events.base import Event
from events.log import EventLog
from events.memory import MemoryLog
from events.policy import Policy, policy_hash
from events.system import PolicyChanged, RecoveryPaused, RecoveryResumed, RunCancelRequested
from events.task import TaskCancelRequested
from events.worker import (
    WorkerCordoned,
    WorkerDrainRequested,
    WorkerExited,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerStopped,
    WorkerUncordoned,
)
from events.writer import Writer
from tests.recovery.story import Story, registered, submitted
from tests.waiting import until


def order(word: Word, *targets: str, **fields: Any) -> Order:
    given: dict[str, Any] = {"actor": "alice", "reason": "new kernel", "wait_s": 0.0} | fields
    return Order(order=word, targets=targets, **given)


def farm() -> Story:
    """w1 runs t1 of r1, w2 is given up, w3 has stopped; r2 is over."""
    story = Story()
    story.join("w1")
    story.tell(submitted("t0", run_id="r2"))
    story.start("t0")
    story.finish("t0")
    story.tell(submitted("t1"), submitted("t2"))
    story.start("t1")
    story.join("w2", "w3")
    story.tell(WorkerStopped(worker_id="w3", incarnation=story.worker("w3").incarnation))
    story.leading = False
    incarnation = story.worker("w2").incarnation
    story.tell(WorkerExited(worker_id="w2", incarnation=incarnation, signal=9))
    story.leading = True
    story.settle()
    story.tell(WorkerPermanentlyFailed(worker_id="w2", attempts=5))
    return story


def planned(story: Story, given: Order) -> Step | Answer:
    (found,) = plan_of(given, story.state)
    return found


WHO: dict[str, Any] = {"actor": "alice", "reason": "new kernel"}

RECORDED: list[tuple[Order, Event]] = [
    (order("pause"), RecoveryPaused(**WHO)),
    (order("drain", "w1"), WorkerDrainRequested(worker_id="w1", **WHO)),
    (order("drain", "w1", restart=True), WorkerDrainRequested(worker_id="w1", restart=True, **WHO)),
    (order("cordon", "w1"), WorkerCordoned(worker_id="w1", cause="operator", **WHO)),
    (order("readmit", "w2"), WorkerReadmitted(worker_id="w2", **WHO)),
    (order("cancel", "r1"), RunCancelRequested(run_id="r1", **WHO)),
    (order("cancel", "t2"), TaskCancelRequested(task_id="t2", **WHO)),
]


@pytest.mark.parametrize(("given", "event"), RECORDED, ids=lambda value: getattr(value, "order", None))
def test_31_every_order_is_an_event_with_who_and_why(given: Order, event: Event) -> None:
    step = planned(farm(), given)
    assert isinstance(step, Step)
    assert step.event == event


def test_every_word_is_planned() -> None:
    story = farm()
    for word in get_args(Word):
        targets = {"pause": (), "resume": (), "cancel": ("r1",)}.get(word, ("w1",))
        assert plan_of(order(word, *targets), story.state)


ANSWERS: list[tuple[Order, str, str]] = [
    (order("resume"), "unchanged", "recovery is not paused"),
    (order("drain", "w3"), "unchanged", "it has stopped already"),
    (order("drain", "w2"), "refused", "it was given up"),
    (order("uncordon", "w1"), "unchanged", "it is not cordoned"),
    (order("readmit", "w1"), "unchanged", "it is alive: nobody has given it up"),
    (order("cancel", "r2"), "unchanged", "all its tasks have their verdicts: 1 passed"),
    (order("cancel", "t0"), "unchanged", "it has its verdict: passed"),
]


@pytest.mark.parametrize(("given", "outcome", "words"), ANSWERS, ids=lambda value: getattr(value, "order", None))
def test_what_makes_no_difference_is_not_recorded(given: Order, outcome: str, words: str) -> None:
    answer = planned(farm(), given)
    assert isinstance(answer, Answer)
    assert answer.outcome == outcome
    assert words in answer.sentence


def test_a_failed_worker_cannot_begin_anew_by_order_and_may_be_told_to_end() -> None:
    story = farm()
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    answer = planned(story, order("drain", "w1", restart=True))
    assert isinstance(answer, Answer)
    assert answer.outcome == "refused"
    assert isinstance(planned(story, order("drain", "w1")), Step)


WRONG: list[tuple[Order, str]] = [
    (order("pause", "w1"), "pause takes no names"),
    (order("drain"), "drain needs the name of a worker"),
    (order("cancel"), "cancel needs the name of a run or a task"),
    (order("readmit", "w1", restart=True), "restart belongs to drain"),
    (order("drain", "w11"), "there is no worker 'w11'; did you mean 'w1'?"),
    (order("drain", "zebra"), "there is no worker 'zebra'; there are w1, w2, w3"),
    (order("drain", "x*"), "no worker fits 'x*': there are 3"),
    (order("cancel", "r9*"), "no run or task fits 'r9*'"),
]


@pytest.mark.parametrize(("given", "words"), WRONG, ids=lambda value: value if isinstance(value, str) else None)
def test_a_mistake_is_a_sentence_and_nothing_is_planned(given: Order, words: str) -> None:
    with pytest.raises(UsageFault) as fault:
        plan_of(given, farm().state)
    assert words in str(fault.value)


def test_of_many_names_not_all_are_listed() -> None:
    with pytest.raises(UsageFault, match="there are 1000, and none is called much like that"):
        chosen(["zebra"], [f"w{number}" for number in range(1000)], "worker")
    with pytest.raises(UsageFault, match="there is none at all"):
        chosen(["w1"], [], "worker")


def test_patterns_mean_each_once_in_the_order_of_the_log() -> None:
    known = ["w10", "w2", "gpu-1"]
    assert chosen(["w?", "*", "w10"], known, "worker") == known
    assert chosen(["w?"], known, "worker") == ["w2"]


def test_a_run_that_is_cancelled_takes_its_tasks_along() -> None:
    story = farm()
    assert [one.target for one in plan_of(order("cancel", "*"), story.state)] == ["r2", "r1"]


def test_what_resume_says_is_owed() -> None:
    story = farm()
    story.tell(RecoveryPaused(actor="alice"))
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    step = planned(story, order("resume"))
    assert isinstance(step, Step)
    assert step.done(story.state) == ""
    story.tell(RecoveryResumed(actor="alice"))
    assert step.done(story.state) == "recovery is resumed: 1 workers wait for it, and 1 tasks"


# Given


@asynccontextmanager
async def at_desk(log: EventLog) -> AsyncIterator[Desk]:
    async with folded(log) as state:
        yield Desk(log, "cli/alice", lambda: state)


async def test_31_an_order_is_recorded_and_its_effect_waited_for() -> None:
    log = MemoryLog()
    writer = Writer(log, "test")
    await writer.write([registered("w1"), registered("w2")])
    async with at_desk(log) as desk:
        giving = asyncio.create_task(give(desk, order("drain", "w1", wait_s=10.0)))
        await until(lambda: log.last == 3)
        stored = log.stored(3)
        assert stored.envelope is not None
        assert stored.envelope.source == "cli/alice"
        await writer.write(WorkerStopped(worker_id="w1", incarnation=1))
        report = await giving
        assert [(one.target, one.outcome, one.sequence) for one in report.effects] == [("w1", "done", 3)]
        assert report.good
        report = await give(desk, order("drain", "*"))
        assert [(one.target, one.outcome, one.sequence) for one in report.effects] == [
            ("w1", "unchanged", 0),
            ("w2", "pending", 5),
        ]
        assert report.effects[1].sentence == "it is draining"
        assert not report.good


async def test_cordoned_and_uncordoned() -> None:
    log = MemoryLog()
    await Writer(log, "test").write([registered("w1")])
    async with at_desk(log) as desk:
        for word, kind in (("cordon", WorkerCordoned), ("cordon", None), ("uncordon", WorkerUncordoned)):
            before = log.last
            report = await give(desk, order(word, "w1", wait_s=5.0))  # type: ignore[arg-type]
            assert report.good
            assert [type(log.stored(at).event) for at in range(before + 1, log.last + 1)] == ([kind] if kind else [])


# The policy


async def test_settings_change_one_by_one_and_by_name() -> None:
    log = MemoryLog()
    first = await change(
        log, PolicyOrder(set={"failed_after": "20"}, actor="alice", reason="slow net"), "cli", where="x"
    )
    assert [(one.setting, one.before, one.after) for one in first.differences] == [("failed_after", 15.0, 20.0)]
    second = await change(log, PolicyOrder(set={"verdict_retries": 2}, actor="bob"), "cli", where="x")
    assert second.in_force.policy == Policy(failed_after=20.0, verdict_retries=2)
    third = await change(log, PolicyOrder(set={"failed_after": "default"}, actor="bob"), "cli", where="x")
    assert third.in_force.policy == Policy(verdict_retries=2)
    again = await change(log, PolicyOrder(set={"verdict_retries": 2}, actor="bob"), "cli", where="x")
    assert again.differences == ()
    known = await history(log)
    assert [(one.sequence, one.actor, one.reason) for one in known] == [
        (0, "nobody", ""),
        (1, "alice", "slow net"),
        (2, "bob", ""),
        (3, "bob", ""),
    ]
    found = find(known, 2)
    assert found is not None
    assert found.sequence == 2
    assert differences(Policy(), Policy()) == ()


async def test_whoever_changes_the_policy_at_the_same_time_is_not_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog()
    other = Policy(verdict_retries=3)
    stepped_in = False
    append = log.append

    async def contended(*arguments: Any, **options: Any) -> Any:
        nonlocal stepped_in
        if not stepped_in:
            stepped_in = True
            event = PolicyChanged(policy=other, policy_hash=policy_hash(other), actor="bob")
            await append([Writer(log, "cli/bob").draft(event)])
        return await append(*arguments, **options)

    monkeypatch.setattr(log, "append", contended)
    report = await change(log, PolicyOrder(set={"failed_after": 20.0}, actor="alice"), "cli", where="x")
    assert report.in_force.policy == Policy(failed_after=20.0, verdict_retries=3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"failed_aftr": "1"}, "there is no setting 'failed_aftr'; did you mean failed_after?"),
        ({"failed_after": "soon"}, "failed_after is 'soon'; it takes a number of seconds"),
        ({"failed_after": "1"}, "does not hold: a silent worker must stop its own tasks"),
        ({"overrides": "[{worker=1}]"}, "overrides is"),
        ({"overrides": "[{worker="}, "overrides is '[{worker='"),
        ({"nothing": "default"}, "there is no setting 'nothing'"),
    ],
)
async def test_a_policy_that_cannot_be_is_a_sentence(settings: dict[str, Any], words: str) -> None:
    log = MemoryLog()
    with pytest.raises(UsageFault) as fault:
        await change(log, PolicyOrder(set=settings), "cli", where="policy set")
    assert words in str(fault.value)
    assert log.last == 0


# HTTP

HEALTHY = HealthReport(
    coordinator_id="c1", broker_reachable=True, role="leader", term=1, sequence=1, lag=0, projector_alive=True
)


async def unknown(_: int | None) -> None:
    return None


@asynccontextmanager
async def serving(desk: Callable[[], Desk | None]) -> AsyncIterator[HttpServer]:
    server = HttpServer(lambda: HEALTHY, unknown, listen("127.0.0.1", 0), routes(desk))
    running = asyncio.create_task(server.run_until_stopped())
    try:
        yield server
    finally:
        server.stop()
        await running


async def ask(
    server: HttpServer, path: str, body: Any = None, *, form: str = "application/json", raw: bytes | None = None
) -> tuple[int, Any]:
    """POST where there is a body, else GET."""
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    data = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
    method = "POST" if data else "GET"
    reader, writer = await asyncio.open_connection(host, int(port), family=socket.AF_INET)
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {form}\r\nContent-Length: {len(data)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + data)
    answered = await reader.read()
    writer.close()
    first, _, content = answered.partition(b"\r\n\r\n")
    return int(first.split(b" ")[1]), msgspec.json.decode(content)


async def test_31_orders_over_http_are_the_same_orders() -> None:
    log = MemoryLog()
    await Writer(log, "test").write([registered("w1")])
    async with at_desk(log) as desk, serving(lambda: desk) as server:
        status, report = await ask(server, "/api/orders", {"order": "pause", "reason": "why not", "actor": "alice"})
        assert (status, report["effects"][0]["outcome"]) == (200, "done")
        stored = log.stored(2)
        assert stored.event == RecoveryPaused(actor="alice", reason="why not")
        assert stored.envelope is not None
        assert stored.envelope.source == "http/alice"
        status, report = await ask(server, "/api/orders", {"order": "drain", "targets": ["w1"], "wait_s": 0})
        assert (status, report["effects"][0]["outcome"]) == (202, "pending")
        assert log.stored(3).event == WorkerDrainRequested(worker_id="w1", actor="http/127.0.0.1")
        status, report = await ask(server, "/api/policy", {"set": {"verdict_retries": 2}, "actor": "bob"})
        assert (status, report["differences"]) == (200, [{"setting": "verdict_retries", "before": 0, "after": 2}])
        status, report = await ask(server, "/api/policy")
        assert (status, report["actor"], report["policy"]["verdict_retries"]) == (200, "bob", 2)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/orders", {"order": "drain", "targets": ["w9"]}, 400, "there is no worker 'w9'"),
        ("/api/orders", {"order": "halt"}, 400, "Invalid enum value 'halt'"),
        ("/api/orders", {"order": "pause", "resaon": "x"}, 400, "unknown field `resaon`"),
        ("/api/policy", {"set": {}}, 400, "length >= 1"),
        ("/api/policy", {"set": {"failed_after": 1}}, 400, "does not hold"),
        ("/api/orders", {"order": "pause", "reason": "x" * BODY_BYTES_MAX}, 413, "larger than"),
    ],
)
async def test_a_mistake_over_http_is_a_sentence_and_a_status(
    path: str, body: dict[str, Any], status: int, words: str
) -> None:
    log = MemoryLog()
    async with at_desk(log) as desk, serving(lambda: desk) as server:
        found, answer = await ask(server, path, body)
        assert found == status
        assert words in answer["error"]
    assert log.last == 0


async def test_what_a_browser_sends_unasked_is_refused() -> None:
    log = MemoryLog()
    async with at_desk(log) as desk, serving(lambda: desk) as server:
        status, answer = await ask(server, "/api/orders", {"order": "pause"}, form="text/plain")
        assert (status, answer) == (415, {"error": "orders are sent as application/json"})
        assert (await ask(server, "/api/orders", raw=b"{"))[0] == 400
    assert log.last == 0


async def test_before_the_log_is_folded_nobody_takes_orders() -> None:
    async with serving(lambda: None) as server:
        assert (await ask(server, "/api/orders", {"order": "pause"}))[0] == 503
        assert (await ask(server, "/api/policy"))[0] == 503
