"""A farm behind a broker that lets in nobody without credentials, as docs/security.md configures it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from coordinator.binary import find_binary
from events.connection import Connection
from events.credentials import VARIABLE
from events.errors import Unacknowledged
from events.jetstream import JetStreamLog
from events.policy import Policy
from events.system import LeaderElected
from events.task import TaskCompleted
from events.worker import WorkerRegistered, WorkerStopped
from events.writer import Writer
from tests.chaos.checks import check_everything
from tests.chaos.farm import CALM, ROOT, Farm
from tests.conftest import _await_ports
from worker.witness import presence, serve_presence

PAGE = ROOT / "docs" / "security.md"
PASSWORDS = {"coordinator": "change me 1", "w1": "change me 2", "reader": "change me 3"}


def configuration() -> str:
    found = re.findall(r"^```nats\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def _serve(path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([str(find_binary()), "-c", str(path)])


class Guarded:
    """A nats-server as the page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""

    async def __aenter__(self) -> None:
        folder = json.dumps(str(self.folder))
        self.folder.mkdir()
        (self.folder / "nats.conf").write_text(
            f'{configuration()}\nlisten: "127.0.0.1:-1"\nports_file_dir: {folder}\n'
            f"jetstream {{ store_dir: {folder} }}\nlog_file: {json.dumps(str(self.folder / 'nats.log'))}\n"
        )
        self._process = _serve(self.folder / "nats.conf")
        self.url = _await_ports(self._process, self.folder)

    async def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class GuardedFarm(Farm):
    def __init__(self, folder: Path, policy: Policy) -> None:
        super().__init__(folder, policy)
        self.broker = Guarded(folder / "guarded")  # type: ignore[assignment]
        self.environments = {"c1": self.shown("coordinator"), "w1": self.shown("w1")}

    def shown(self, user: str, password: str = "") -> dict[str, str]:
        """The environment of a process with the credentials of that user."""
        path = self.folder / f"{user}-{len(password)}.toml"
        path.write_text(f'user = "{user}"\npassword = "{password or PASSWORDS[user]}"\n')
        path.chmod(0o600)
        return {VARIABLE: str(path)}

    def command(self, *words: str, shown: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RESURGAM_")}
        return subprocess.run(
            [sys.executable, "-m", "resurgam", *words, "--nats-url", self.broker.url],
            env={**environment, "PYTHONPATH": str(ROOT), **shown},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )


@pytest.mark.timeout(60)
async def test_24_everybody_has_credentials_of_his_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = GuardedFarm(tmp_path, CALM)
    for name, value in farm.shown("coordinator").items():
        monkeypatch.setenv(name, value)
    async with farm:
        await farm.start(workers=1)
        await farm.submit([*farm.shop.commands(3, 0.01), *farm.shop.tests()])
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        await _one_worker_speaks_for_itself_alone(farm, monkeypatch)
        _commands(farm)
        _nothing_is_told(farm)
        farm.members["w1"].process.terminate()
        await farm.seen(WorkerStopped, worker_id="w1")
        await check_everything(farm)
    assert "Violation" not in farm.members["w1"].said()


async def _one_worker_speaks_for_itself_alone(farm: GuardedFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not permitted fails, says why, and is nowhere to be found."""
    with monkeypatch.context() as patched:
        for name, value in farm.shown("w1").items():
            patched.setenv(name, value)
        bus = await Connection.connect(farm.broker.url, name="an impostor")
    try:
        before = await farm.log.last_sequence()
        its_log = JetStreamLog(bus, farm.streams)
        writer = Writer(its_log, "an impostor")
        for event in (
            WorkerRegistered(worker_id="w2", host="h", pid=1, slots=1),
            LeaderElected(coordinator_id="c9", term=99),
            TaskCompleted(task_id=farm.tasks[0], run_id="r1", verdict="passed", attempt=1),
        ):
            with pytest.raises(Unacknowledged, match=r"(?i)permissions violation"):
                await its_log.append([writer.draft(event)], timeout_s=0.3)
        for verb in ("STREAM.DELETE.EVENTS", "STREAM.PURGE.EVENTS", "STREAM.UPDATE.EVENTS"):
            with pytest.raises(Unacknowledged, match=r"(?i)permissions violation"):
                await bus.api(verb, {}, timeout_s=0.3)
        await serve_presence(bus, farm.streams, "w2", "agent")
        with pytest.raises(Unacknowledged):
            await farm.bus.request(presence(farm.streams, "w2"), timeout_s=0.3)
        assert await farm.log.last_sequence() == before
    finally:
        await bus.close()


def _commands(farm: GuardedFarm) -> None:
    good = farm.command("workers", shown=farm.shown("reader"))
    assert (good.returncode, good.stderr) == (0, "")
    assert "w1" in good.stdout
    for shown in ({}, farm.shown("w1", "guessed"), farm.shown("nobody", "guessed")):
        refused = farm.command("workers", shown=shown)
        assert refused.returncode == 5, refused.stderr
        assert refused.stderr.count("\n") == 1
        assert "it refuses the credentials, or wants some and RESURGAM_CREDENTIALS names none" in refused.stderr
        assert "guessed" not in refused.stderr
    impostor = farm.command("worker", "--worker-id", "w9", shown=farm.shown("w1", "guessed"))
    assert (impostor.returncode, impostor.stderr.count("\n")) == (5, 1), impostor.stderr
    path = Path(farm.shown("reader", "anything")[VARIABLE])
    path.chmod(0o644)
    open_to_all = farm.command("workers", shown={VARIABLE: str(path)})
    assert (open_to_all.returncode, f"chmod 600 {path}" in open_to_all.stderr) == (4, True)
    careless = farm.command("worker", "--worker-id", "w9", shown={VARIABLE: str(path)})
    assert (careless.returncode, f"chmod 600 {path}" in careless.stderr) == (2, True)


def _nothing_is_told(farm: GuardedFarm) -> None:
    """No command line, no environment, no file of ours holds a password, but for those that are there for it."""
    secrets = [password.encode() for password in PASSWORDS.values()]
    for member in farm.members.values():
        for process in (own := psutil.Process(member.pid), *own.children(recursive=True)):
            folder = Path("/proc") / str(process.pid)
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            assert not [secret for secret in secrets if secret in told], process
    for path in farm.folder.rglob("*"):
        if path.is_file() and path.suffix != ".toml" and path.name != "nats.conf":
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret in content], path
