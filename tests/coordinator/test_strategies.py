"""What a leader does itself to bring workers back: who is found by which name, and what comes of each end."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from coordinator.broker import EmbeddedBroker
from coordinator.strategies import Context, LaunchOrder, StrategyFailed, Unavailable
from coordinator.strategies.local import LocalLauncher
from coordinator.strategies.runner import StrategyRunner
from coordinator.strategies.toolbox import Toolbox
from events.bus import Bus
from events.connection import Connection
from events.policy import Policy
from events.streams import Streams
from events.worker import WorkerExited, WorkerRecoveryActed, WorkerRecoveryStarted, WorkerRecoverySucceeded
from recovery.consumer import RecoveryConsumer
from tests.recovery.story import Story
from tests.waiting import until
from worker.lifeline import this_machine

STREAMS = Streams()
POLICY = Policy(ladders={"worker_exit": ("probing",)}, launcher="local")


def order(**fields: Any) -> LaunchOrder:
    known: dict[str, Any] = {
        "worker_id": "w1",
        "nats_url": "nats://127.0.0.1:1",
        "namespace": "resurgam",
        "slots": 2,
        "labels": {"os": "linux", "gpu": "yes"},
        "host": "h",
        "machine": this_machine(),
        "seconds_left": 5.0,
    }
    return LaunchOrder(**known | fields)


# By name


class Offered:
    async def act(self, context: Context) -> str:
        return f"acted on {context.worker_id}"


class Broken:
    def __init__(self) -> None:
        raise OSError("no key to the machine room")


class Empty:
    pass


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that offers some, as its metadata on the path says."""
    folder = tmp_path / "offers-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: offers\nVersion: 1.0\n")
    names = {"offered": "Offered", "broken": "Broken", "empty": "Empty", "absent": "Absent"}
    lines = [f"{name} = {__name__}:{kind}" for name, kind in names.items()]
    (folder / "entry_points.txt").write_text("[resurgam.strategies]\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


@pytest.mark.usefixtures("installed")
def test_an_installed_strategy_is_made_once() -> None:
    toolbox = Toolbox()
    assert type(toolbox.strategy("offered")).__name__ == "Offered"
    assert toolbox.strategy("offered") is toolbox.strategy("offered")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("power-cycle", "this coordinator has no strategy 'power-cycle': nobody offers it in the entry point group"),
        ("broken", "strategy 'broken' cannot be made: OSError: no key to the machine room"),
        ("empty", "strategy 'empty' is a Empty, which has no method 'act'"),
        ("absent", "cannot be loaded: AttributeError"),
    ],
)
def test_a_strategy_that_is_not_there(name: str, sentence: str) -> None:
    with pytest.raises(Unavailable) as caught:
        Toolbox().strategy(name)
    assert sentence in str(caught.value)


def test_a_launcher_that_is_not_there() -> None:
    with pytest.raises(Unavailable, match=r"no launcher 'moon': nobody offers it .* resurgam.launchers"):
        Toolbox().launcher("moon")


# Processes of this machine


def test_an_order_as_options_of_a_command_line() -> None:
    assert order().options == (
        *("--worker-id", "w1", "--nats-url", "nats://127.0.0.1:1", "--namespace", "resurgam", "--slots", "2"),
        *("--label", "gpu=yes", "--label", "os=linux"),
    )


async def test_a_worker_of_another_machine_is_refused(tmp_path: Path) -> None:
    for fields in ({"machine": "another"}, {"machine": None, "host": "another"}):
        with pytest.raises(Unavailable, match=r"worker of (h|another), and the launcher 'local' starts processes on"):
            await LocalLauncher(tmp_path).launch(order(**fields))


async def test_a_process_that_ends_at_once(tmp_path: Path) -> None:
    """Its own last line says why."""
    with pytest.raises(StrategyFailed, match=r"ended with code 2: worker: --slots 5000 is out of range"):
        await LocalLauncher(tmp_path).launch(order(slots=5000))


async def test_no_process_can_be_started(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StrategyFailed, match="no process can be started"):
        await LocalLauncher(tmp_path / "file" / "logs").launch(order())


async def test_a_process_of_its_own(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path / "broker", sync="default") as broker:
        said = await LocalLauncher(tmp_path / "logs").launch(order(nats_url=broker.url))
        process = psutil.Process(int(said.split()[1].rstrip(",")))
        try:
            assert said == f"process {process.pid}, which writes to {tmp_path / 'logs' / 'w1.log'}"
            assert "--worker-id" in process.cmdline()
        finally:
            process.kill()
        await until(lambda: not process.is_running(), what="the end of the process")


# Beside the consumer


class FakeConsumer:
    """As much of a leader's consumer as the runner sees, over the state of a story."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.leading = True
        self.recorded: list[WorkerRecoveryActed] = []
        self._listener: Any = None

    @property
    def state(self) -> Any:
        return self.story.state

    @property
    def clock(self) -> Any:
        story = self.story

        class Clock:
            @staticmethod
            def now() -> float:
                return story.now

        return Clock

    def listen(self, listener: Any) -> None:
        self._listener = listener

    def wake(self) -> None:
        self._listener([])

    def record(self, fact: WorkerRecoveryActed) -> None:
        self.recorded.append(fact)
        self.story.tell(fact)
        self._listener([])


class Probing:
    """Ends as it is told to."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.ends: asyncio.Queue[str | Exception] = asyncio.Queue()

    async def act(self, context: Context) -> str:
        self.contexts.append(context)
        end = await self.ends.get()
        if isinstance(end, Exception):
            raise end
        return end


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    async with EmbeddedBroker(tmp_path / "broker", sync="default") as broker:
        connection = await Connection.connect(broker.url, name="coordinator/c1")
        yield connection
        await connection.close()


def failing(policy: Policy = POLICY) -> Story:
    """w1 has exited, and its attempt has started."""
    story = Story(policy)
    story.join("w1", slots=2, labels={"os": "linux"})
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    assert story.told(WorkerRecoveryStarted)
    return story


@asynccontextmanager
async def running(consumer: FakeConsumer, bus: Bus, toolbox: Toolbox) -> AsyncIterator[None]:
    kept: RecoveryConsumer = consumer  # type: ignore[assignment]
    task = asyncio.create_task(StrategyRunner(bus, STREAMS, kept, toolbox).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("end", "outcome", "detail"),
    [
        ("it was pressed", "done", "it was pressed"),
        (StrategyFailed("no answer"), "failed", "no answer"),
        (Unavailable("no such button"), "unavailable", "no such button"),
        (KeyError("x"), "failed", "KeyError: 'x'"),
    ],
)
async def test_each_end_is_told(bus: Bus, end: str | Exception, outcome: str, detail: str) -> None:
    probing = Probing()
    probing.ends.put_nowait(end)
    consumer = FakeConsumer(failing())
    async with running(consumer, bus, Toolbox(strategies={"probing": probing})):
        await until(lambda: consumer.recorded, what="an outcome")
    (acted,) = consumer.recorded
    assert (acted.attempt, acted.strategy, acted.outcome, acted.detail) == (1, "probing", outcome, detail)
    (context,) = probing.contexts
    assert (context.worker_id, context.reason, context.slots, context.labels) == (
        "w1",
        "worker_exit",
        2,
        {"os": "linux"},
    )
    assert context.seconds_left == 30.0


async def test_a_strategy_that_nobody_has(bus: Bus) -> None:
    consumer = FakeConsumer(failing())
    async with running(consumer, bus, Toolbox()):
        await until(lambda: consumer.recorded, what="an outcome")
    assert consumer.recorded[0].outcome == "unavailable"
    assert "this coordinator has no strategy 'probing'" in consumer.recorded[0].detail


async def test_an_act_that_takes_too_long(bus: Bus) -> None:
    consumer = FakeConsumer(failing(msgspec.structs.replace(POLICY, recovery_attempt_timeout=0.2)))
    async with running(consumer, bus, Toolbox(strategies={"probing": Probing()})):
        await until(lambda: consumer.recorded, what="an outcome")
    assert (consumer.recorded[0].outcome, consumer.recorded[0].detail) == ("failed", "it was not done within 0.2 s")


async def test_16_a_leader_that_takes_over_acts_again(bus: Bus) -> None:
    """The one before had begun, and lost the lease. Whoever does not lead does nothing."""
    first, second = Probing(), Probing()
    story = failing()
    former = FakeConsumer(story)
    async with running(former, bus, Toolbox(strategies={"probing": first})):
        await until(lambda: first.contexts, what="the first act")
        former.leading = False
        first.ends.put_nowait("too late")
        later = FakeConsumer(story)
        later.leading = False
        async with running(later, bus, Toolbox(strategies={"probing": second})):
            await asyncio.sleep(0)
            assert not second.contexts
            later.leading = True
            await until(lambda: second.contexts, what="the second act")
            second.ends.put_nowait("done")
            await until(lambda: later.recorded, what="an outcome")
    assert not former.recorded
    assert len(later.recorded) == len(second.contexts) == 1


async def test_an_act_whose_attempt_is_over_is_given_up(bus: Bus) -> None:
    probing = Probing()
    story = failing()
    consumer = FakeConsumer(story)
    async with running(consumer, bus, Toolbox(strategies={"probing": probing})):
        await until(lambda: probing.contexts, what="the act")
        story.wait(32.0)
        assert story.told(WorkerRecoveryStarted)[-1].attempt == 2
        await until(lambda: len(probing.contexts) == 2, what="the act of the next attempt")
        probing.ends.put_nowait("done")
        await until(lambda: consumer.recorded, what="an outcome")
    assert [acted.attempt for acted in consumer.recorded] == [2]


async def test_an_act_that_has_brought_the_worker_back_is_told_all_the_same(bus: Bus) -> None:
    probing = Probing()
    story = failing()
    consumer = FakeConsumer(story)
    async with running(consumer, bus, Toolbox(strategies={"probing": probing})):
        await until(lambda: probing.contexts, what="the act")
        story.come_back("w1")
        consumer.wake()
        await asyncio.sleep(0)
        probing.ends.put_nowait("it was pressed")
        await until(lambda: consumer.recorded, what="an outcome")
    assert story.told(WorkerRecoverySucceeded)
    assert [acted.outcome for acted in consumer.recorded] == ["done"]


async def test_a_connection_that_is_not_there_cannot_be_closed(bus: Bus) -> None:
    policy = Policy(ladders={"worker_exit": ("reconnect",)})
    consumer = FakeConsumer(failing(policy))
    async with running(consumer, bus, Toolbox()):
        await until(lambda: consumer.recorded, what="an outcome")
    acted = consumer.recorded[0]
    assert (acted.outcome, acted.detail) == ("unavailable", "its agent has no connection that could be closed")
