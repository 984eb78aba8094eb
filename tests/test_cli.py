"""The command line: every mistake of a user ends in one sentence and the right exit code, and nothing starts slowly."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import resurgam
from coordinator.commands.events import tails_of
from coordinator.endpoint import Endpoint, write_endpoint
from coordinator.faults import UsageFault
from events.jetstream import JetStreamLog
from events.streams import Streams
from events.synthetic import SyntheticEvents
from events.task import TaskSubmitted
from events.worker import WorkerExited, WorkerFailed
from tests.conftest import BrokerProcess
from tests.waiting import event_in, is_kind

ROOT = Path(__file__).parents[1]
NOBODY = "nats://127.0.0.1:9"


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def run(folder: Path, *arguments: str, stdin: str = "", **variables: str) -> Ended:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RESURGAM_")}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "200", **variables}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "resurgam.py"), *arguments],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback (most" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def live(broker: BrokerProcess, streams: Streams, tmp_path: Path) -> Path:
    """A folder whose system runs: this test process stands in for its coordinator."""
    folder = tmp_path / ".resurgam"
    folder.mkdir()
    write_endpoint(
        folder,
        Endpoint(
            nats_url=broker.url, namespace=streams.namespace, db_path=str(tmp_path / "history.duckdb"), pid=os.getpid()
        ),
    )
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["evnts"], 2, "resurgam: there is no command 'evnts'; did you mean 'events'?"),
        (["qqq"], 2, "resurgam: there is no command 'qqq'; 'resurgam --help' lists them"),
        (["--frob"], 2, "resurgam: there is no option '--frob' before the command"),
        (["events", "--frob"], 2, "No such option: --frob"),
        (["events", "--kind", "worker.faild"], 2, "resurgam: --kind 'worker.faild': did you mean 'worker.failed'?"),
        (["events", "--last", "x"], 2, "Invalid value for '--last'"),
        (["events"], 2, "resurgam: no system is known in .resurgam: start one with"),
        (["events", "--follow"], 2, "resurgam: no running system is known in .resurgam: start one with"),
        (["events", "--nats-url", NOBODY], 3, f"resurgam: no NATS server answers at {NOBODY}"),
        (["events", "--nats-url", "nats://127.0.0.1:port"], 3, "not a URL"),
        (["workers", "--status", "aliv"], 2, "resurgam: --status 'aliv': did you mean 'alive'?"),
        (["workers", "--namespace", "a b"], 2, "resurgam: the namespace 'a b' is no name"),
        (["tasks", "--nats-url", NOBODY], 3, f"resurgam: no NATS server answers at {NOBODY}"),
        (["submit"], 2, "resurgam: nothing to submit: give a command after '--', or --pytest and a path"),
        (["submit", "--", "true"], 2, "resurgam: no running system is known in .resurgam"),
        (
            ["submit", "--timeout", "-1", "--", "true"],
            2,
            "resurgam: --timeout -1: it takes a number of seconds above 0",
        ),
        (["submit", "--label", "os", "--", "true"], 2, "resurgam: --label 'os': it takes KEY=VALUE"),
        (["submit", "--repeat", "2", "--pytest", "x"], 2, "resurgam: --repeat and --env are for commands"),
        (["submit", "--priority", "5000", "--", "true"], 2, "Invalid value for '--priority': "),
        (["inject", "worker-failed"], 2, "Missing option '--worker'"),
        (["inject", "worker-failed", "--worker", "a.b"], 2, "resurgam: --worker 'a.b' is no name"),
        (["inject", "heartbeat-silence"], 2, "resurgam: silence cannot be injected"),
        (["sql", "--format", "xml", "SELECT 1"], 2, "'xml' is not one of"),
        (["sql", "SELECT 1"], 2, "resurgam: no running system is known in .resurgam"),
        (["sql", "--db-path", "gone.duckdb", "SELECT 1"], 1, "resurgam: gone.duckdb: there is no such file"),
        (["replay", "story"], 2, "resurgam: give an id, or --sequence and a number, and not both"),
        (["replay", "story", "w1"], 2, "resurgam: no system is known in .resurgam"),
        (["replay", "verify", "--nats-url", NOBODY], 3, f"resurgam: no NATS server answers at {NOBODY}"),
        (["coordinator", "--port", "70000"], 2, "resurgam: the command line: --port is 70000; it takes"),
        (["coordinator", "--config", "gone.toml"], 2, "resurgam: the configuration file gone.toml cannot be read"),
        (["coordinator", "--namespace", "a.b"], 2, "resurgam: the command line: --namespace is 'a.b'; it takes"),
        (["coordinator", "--port", "0", "--nats-url", NOBODY], 3, f"resurgam: no NATS server answers at {NOBODY}"),
        (["coordinator", "--max-recovery-attempts", "0"], 2, "--max-recovery-attempts is 0; it takes a whole number"),
        (["worker", "--nats-url", NOBODY, "--slots", "-1"], 2, "--slots -1 is out of range"),
    ],
)
def test_mistakes(tmp_path: Path, arguments: list[str], code: int, sentence: str) -> None:
    ended = run(tmp_path, *arguments)
    assert sentence in ended.err
    assert ended.code == code


def test_mistakes_in_the_environment(tmp_path: Path) -> None:
    ended = run(tmp_path, "coordinator", "--port", "0", RESURGAM_POLICY_FAILED_AFTR="3")
    assert ended.code == 2
    assert ended.err == (
        "resurgam: the environment: there is no setting 'RESURGAM_POLICY_FAILED_AFTR'; did you mean "
        "RESURGAM_POLICY_FAILED_AFTER?\n"
    )


def test_a_taken_port_is_said_before_a_broker_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(tmp_path, "coordinator", "--port", str(port))
    assert ended.code == 2
    assert ended.err == (
        f"resurgam: HTTP cannot listen on 127.0.0.1:{port} (Address already in use): stop what listens there, or give "
        f"another --port (0 takes any free one)\n"
    )
    assert not (tmp_path / ".resurgam").exists()


def test_a_binary_that_is_none(tmp_path: Path) -> None:
    ended = run(tmp_path, "coordinator", "--port", "0", NATS_SERVER_BIN="/bin/true")
    assert ended.code == 2
    assert ended.err.startswith("resurgam: /bin/true does not answer --version as a nats-server does (it said ")
    assert ended.err.count("\n") == 1


def test_the_reader_of_a_pipe_may_leave(tmp_path: Path) -> None:
    program = [sys.executable, str(ROOT / "resurgam.py"), "coordinator", "--example-config"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, check=False)
    os.close(writing)
    assert done.stderr == b""


def test_help_is_complete(tmp_path: Path) -> None:
    ended = run(tmp_path, "--help")
    assert ended.code == 0
    assert all(f"\n  {name} " in ended.out for name in resurgam.COMMANDS)


def test_help_loads_nothing_that_takes_time(tmp_path: Path) -> None:
    program = (
        "import sys, resurgam\n"
        "try: resurgam.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('loaded', sorted({'nats', 'duckdb', 'rich', 'typer', 'asyncio', 'msgspec'} & set(sys.modules)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    assert ended.stdout.splitlines()[-1] == "loaded []"


def test_nothing_at_all_shows_the_commands_and_fails(tmp_path: Path) -> None:
    assert run(tmp_path).code == 2


def test_version(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").out.startswith("resurgam ")


@pytest.mark.parametrize("name", [name for name in resurgam.COMMANDS if name not in ("run", "demo")])
def test_every_command_has_help(tmp_path: Path, name: str) -> None:
    ended = run(tmp_path, name, "--help")
    assert ended.code == 0
    assert f"Usage: resurgam {name}" in ended.out


def test_the_example_configuration_is_printed(tmp_path: Path) -> None:
    assert run(tmp_path, "coordinator", "--example-config").out == (ROOT / "docs/policy.example.toml").read_text()


async def test_submitted_commands_stand_in_the_log(live: Path, log: JetStreamLog) -> None:
    ended = run(live, "submit", "--repeat", "2", "--priority", "7", "--label", "os=linux", "--", "echo", "-n", "hi")
    assert ended.code == 0, ended.err
    assert ended.out.endswith(": 2 tasks submitted\n")
    run_id = ended.out.split()[1].rstrip(":")
    recorded = await event_in(log, is_kind(TaskSubmitted, run_id=run_id, priority=7, requires={"os": "linux"}))
    assert isinstance(recorded.event, TaskSubmitted)
    assert recorded.event.task_id == f"{run_id}-0001"
    listed = run(live, "tasks", "--run", run_id)
    assert listed.out.count("queued") == 3  # two rows, and the headline


async def test_a_suite_is_collected_under_its_own_interpreter(live: Path, log: JetStreamLog) -> None:
    (live / "pytest.ini").write_text("[pytest]\n")
    (live / "test_two.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    ended = run(live, "submit", "--pytest", "test_two.py", "--python", sys.executable, "--", "-k", "test_b")
    assert ended.code == 0, ended.err
    recorded = await event_in(log, is_kind(TaskSubmitted))
    assert isinstance(recorded.event, TaskSubmitted)
    assert getattr(recorded.event.work, "node_id", None) == "test_two.py::test_b"


def test_a_suite_without_tests_ends_as_pytest_would(live: Path) -> None:
    (live / "test_none.py").write_text("")
    assert run(live, "submit", "--pytest", "test_none.py", "--python", sys.executable).code == 5


def test_a_suite_that_cannot_be_collected_is_not_submitted(live: Path) -> None:
    (live / "test_broken.py").write_text("import nothing_of_this_name\n")
    ended = run(live, "submit", "--pytest", "test_broken.py", "--python", sys.executable)
    assert ended.code == 2
    assert "nothing_of_this_name" in ended.err
    assert "submitted" not in ended.out


async def test_injected_failures_are_marked(live: Path, log: JetStreamLog) -> None:
    registered = await SyntheticEvents(log, "test").worker_registered("w1")
    ended = run(live, "inject", "worker-failed", "--worker", "w1", "--synthetic-label", "chaos")
    assert ended.code == 0, ended.err
    recorded = await event_in(log, is_kind(WorkerFailed, worker_id="w1", incarnation=registered.last))
    assert recorded.synthetic == "chaos"
    ended = run(live, "inject", "worker-exited", "--worker", "w1", "--signal", "9", "--label", "chaos")
    assert ended.code == 0, ended.err
    recorded = await event_in(log, is_kind(WorkerExited, worker_id="w1", incarnation=registered.last, signal=9))
    assert recorded.synthetic == "chaos"
    story = run(live, "replay", "story", "w1")
    assert [line.split()[4] for line in story.out.splitlines()[1:]] == [
        "worker.registered",
        "worker.failed",
        "worker.exited",
    ]


def test_a_worker_that_never_was_cannot_fail(live: Path) -> None:
    ended = run(live, "inject", "worker-failed", "--worker", "w9")
    assert ended.code == 2
    assert "no worker called 'w9' has ever registered" in ended.err


async def test_events_can_be_chosen(live: Path, log: JetStreamLog) -> None:
    synthetic = SyntheticEvents(log, "test")
    for worker in ("w1", "w2"):
        await synthetic.worker_registered(worker)
        await synthetic.worker_failed(worker)

    def kinds(*arguments: str) -> list[str]:
        return [line.split()[3] for line in run(live, "events", *arguments).out.splitlines()]

    assert kinds() == ["worker.registered", "worker.failed"] * 2
    assert kinds("--last", "1") == ["worker.failed"]
    assert kinds("--kind", "worker.failed") == ["worker.failed"] * 2
    assert kinds("--entity", "w1") == ["worker.registered", "worker.failed"]
    assert kinds("--kind", "task") == []
    assert kinds("--after", "4") == []


@pytest.mark.parametrize(
    ("kind", "tails"),
    [
        ("worker", ["worker.>"]),
        ("worker.failed", ["worker.*.failed"]),
        ("task.completed", ["task.*.completed"]),
        ("task.assigned", ["task.*.assigned.*"]),
        ("system.leader", ["system.leader"]),
    ],
)
def test_a_kind_is_read_by_its_subjects(kind: str, tails: list[str]) -> None:
    assert tails_of(kind) == tails


def test_an_unknown_kind() -> None:
    with pytest.raises(UsageFault, match=r"there are worker, task, system, worker\.registered"):
        tails_of("zzz")
