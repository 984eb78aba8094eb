"""The example of docs/plugins.md, installed as anybody would install it, in a farm whose leader needs it."""

import os
import sys
from pathlib import Path

import msgspec
import pytest

from coordinator.strategies import Context, LaunchOrder, StrategyFailed, Unavailable
from coordinator.strategies.toolbox import Toolbox
from events.failures import FailureReason
from events.worker import WorkerRecoveryActed, WorkerRecoverySucceeded
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import CALM, ROOT
from tests.chaos.test_agents import staying_on
from tests.chaos.test_replacements import kill_all_of, launched
from tests.plugins import check_page, installed

SH = "#!/bin/sh\n"
FAKES = {
    # Whoever is called over ssh is this machine, and its shell knows `resurgam`. What our side has open stays here.
    "ssh": f"#!{sys.executable}\n"
    "import os, sys\n"
    "open(os.environ['SAID'], 'a').write(sys.argv[5] + '\\n')\n"
    "os.environ['PATH'] = os.environ['BIN'] + ':' + os.environ['PATH']\n"
    "os.closerange(3, 1000)\n"
    "os.execv('/bin/sh', ['sh', '-c', sys.argv[6]])\n",
    "kubectl": f'{SH}echo "$@" >>"$SAID"\n',
    "pdu": f'{SH}echo "$@" >>"$SAID"; echo "the breaker is out" >&2; exit 7\n',
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the distribution in it."""
    return installed("ladder", tmp_path_factory.mktemp("site"))


@pytest.fixture
def said(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the farm's tools were told, and the distribution on everybody's path."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, script in FAKES.items():
        path = tools / name
        path.write_text(script)
        path.chmod(0o755)
    path = tmp_path / "said"
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("BIN", str(Path(sys.executable).parent))
    monkeypatch.setenv("SAID", str(path))
    monkeypatch.syspath_prepend(str(site))
    return path


def order(worker_id: str = "w_1") -> LaunchOrder:
    return LaunchOrder(
        worker_id=worker_id,
        nats_url="nats://b:4222",
        namespace="resurgam",
        slots=2,
        labels={},
        host="h1",
        machine=None,
        seconds_left=5.0,
    )


def context(reason: FailureReason = "silence", **labels: str) -> Context:
    return Context(
        worker_id="w1",
        incarnation=3,
        attempt=1,
        reason=reason,
        host="h1",
        machine=None,
        slots=1,
        labels=labels,
        seconds_left=5.0,
        launcher="",
        bus=None,  # type: ignore[arg-type] # which these do not ask anything
        streams=None,  # type: ignore[arg-type]
    )


def told(said: Path) -> list[str]:
    return said.read_text().splitlines() if said.exists() else []


async def test_a_pod(said: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="FARM_IMAGE"):
        await Toolbox().launcher("pod").launch(order())
    monkeypatch.setenv("FARM_IMAGE", "farm:7")
    assert await Toolbox().launcher("pod").launch(order()) == "pod worker-w-1"
    deleting, running = told(said)
    assert deleting == "delete pod worker-w-1 --ignore-not-found --now"
    assert running == " ".join(["run worker-w-1 --image=farm:7 --restart=Never -- resurgam worker", *order().options])


async def test_a_socket(said: Path) -> None:
    strategy = Toolbox().strategy("power-cycle")
    with pytest.raises(Unavailable, match="w1 has no label 'socket'"):
        await strategy.act(context())
    with pytest.raises(StrategyFailed, match="pdu ended with code 7: the breaker is out"):
        await strategy.act(context(socket="r3-17"))
    assert told(said) == ["cycle r3-17"]


async def test_a_tool_that_is_not_there(said: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match="ssh cannot be run here"):
        await Toolbox().launcher("remote-shell").launch(order())
    assert not told(said)


@pytest.mark.timeout(90)
async def test_a_worker_is_launched_over_a_remote_shell(
    new_farm: NewFarm, said: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.chaos.farm.PYTHON_PATH", f"{ROOT}:{site}")
    async with new_farm(msgspec.structs.replace(CALM, launcher="remote-shell")) as farm:
        await farm.start(workers=2)
        (staying,) = await farm.submit([farm.shop.command("stay", "stays")])
        first, agent = await staying_on(farm, staying, "stays")
        name = first.worker_id
        with launched(farm, name):
            kill_all_of(farm, name, agent)
            acted = await farm.seen(WorkerRecoveryActed, worker_id=name, strategy="replace", outcome="done")
            assert isinstance(acted.event, WorkerRecoveryActed)
            assert acted.event.detail.startswith("process ")
            await farm.seen(WorkerRecoverySucceeded, worker_id=name, strategy="replace")
            await farm.verdicts()
    assert told(said) == [os.uname().nodename]


def test_the_page_shows_the_example_as_it_is() -> None:
    check_page("ladder", "farm_hands.py")
