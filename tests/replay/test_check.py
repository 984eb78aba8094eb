"""Checking whole logs, and the commands that do it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from events.clock import utc
from events.envelope import Draft, Provenance
from events.identity import new_id
from events.jetstream import JetStreamLog
from events.memory import MemoryLog
from events.streams import Streams
from events.task import TaskCompleted
from events.worker import WorkerRegistered
from replay.__main__ import create_app
from replay.access import open_by_address
from replay.archive import Archive, ArchiveBeats, ArchiveLog, Message
from replay.beats import ListedBeats
from replay.check import Check
from replay.invariants import Violation
from tests.conftest import BrokerProcess
from tests.recovery.story import Story
from tests.replay.test_archive import told, written
from tests.replay.told import drafted
from tests.replay.wrong import assigned, decided, farm, recovered
from tests.waiting import until

ROOT = Path(__file__).parents[2]


def wrong() -> tuple[Story, int]:
    """A task is given to a second worker while the first one has it."""
    story = farm()
    return story, decided(story, assigned("t1", story, "w2"))


def archived(path: Path, story: Story) -> Path:
    return written(path / "log.parquet", told(story))


async def check(path: Path, *, first: int = 1, at_rest: bool = False) -> tuple[Check, list[Violation]]:
    found: list[Violation] = []
    with Archive(path) as archive:
        done = Check(ArchiveLog(archive), ArchiveBeats(archive), found.append, first=first)
        await done.run(at_rest=at_rest)
    return done, found


async def test_a_log_that_keeps_its_promises(tmp_path: Path) -> None:
    story = recovered()
    done, found = await check(archived(tmp_path, story), at_rest=True)
    assert found == []
    assert done.checker.events == story.last
    assert done.checker.unreproduced == 0
    assert re.fullmatch(
        rf"checked {story.last} events, \d+ decisions in \d+ batches, {len(story.beats)} heartbeats: "
        r"every invariant holds",
        done.summary(),
    )


async def test_a_log_that_does_not(tmp_path: Path) -> None:
    story, sequence = wrong()
    path = archived(tmp_path, story)
    done, found = await check(path)
    names = {(one.invariant, one.sequence, one.entity) for one in found}
    assert names == {("one-live-attempt", sequence, "t1"), ("reproduced", sequence, "t1")}
    assert done.summary().endswith(": 2 violations (reproduced 1, one-live-attempt 1)")
    done, found = await check(path, first=sequence + 1)
    assert (found, done.found) == ([], 0)


async def test_it_follows_what_comes() -> None:
    log = MemoryLog(wall=lambda: 1_000_000.0)
    found: list[Violation] = []
    checking = Check(log, ListedBeats([]), found.append)
    await log.append([drafted(WorkerRegistered(worker_id="w1", host="h", pid=1, slots=1))])
    await checking.run()
    following = asyncio.create_task(checking.follow())
    decision = Provenance(as_of_events=1, as_of_heartbeats=0, decided_at=utc(1_000_000.0), rules_version=1, rule="none")
    verdict = TaskCompleted(task_id="t1", run_id="r1", verdict="passed", attempt=0)
    await log.append([drafted(verdict, decision=decision)])
    await until(lambda: found, 5.0, "the violation")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert {one.sequence for one in found} == {2}
    assert {"one-verdict", "one-leader"} <= {one.invariant for one in found}


# The command


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(create_app(open_by_address), list(arguments))


def test_the_command_on_an_archive(tmp_path: Path) -> None:
    path = archived(tmp_path, recovered())
    for options in ([], ["--at-rest"], ["--from", "7"]):
        done = invoke("check", "--log", str(path), *options)
        assert (done.exit_code, done.stdout.count("\n")) == (0, 1)
        assert done.stdout.endswith("every invariant holds\n")


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    story, sequence = wrong()
    path = archived(tmp_path, story)
    done = invoke("check", "--log", str(path))
    assert done.exit_code == 1
    assert done.stdout.splitlines()[2:4] == [
        f"one-live-attempt at {sequence} (t1): attempt 1 is running at w1 still",
        f"    resurgam replay story t1 --log {path}",
    ]
    assert done.stdout.splitlines()[-1].startswith("reproduced, one-live-attempt: A defect of the deciding program. ")
    shown = invoke("story", "t1", "--log", str(path))
    assert shown.exit_code == 0
    assert f"{sequence:>8}  " in shown.stdout
    lines = [msgspec.json.decode(line) for line in invoke("check", "--log", str(path), "--json").stdout.splitlines()]
    assert lines[1] == {
        "invariant": "one-live-attempt",
        "sequence": sequence,
        "entity": "t1",
        "sentence": "attempt 1 is running at w1 still",
    }
    assert lines[2]["violations"] == 2
    assert lines[2]["events"] == story.last


def test_what_is_about_nobody_is_shown_by_its_sequence(tmp_path: Path) -> None:
    rows = [message for message in told(recovered()) if message.sequence != 5 or message.stream != "EVENTS"]
    done = invoke("check", "--log", str(written(tmp_path / "log.parquet", rows)))
    assert "no-gap at 6: 5 is missing before it\n    resurgam replay story --sequence=6 --log " in done.stdout


@pytest.mark.parametrize("command", ["story", "state", "verify"])
def test_the_other_commands_read_archives(tmp_path: Path, command: str) -> None:
    path = archived(tmp_path, recovered())
    done = invoke(command, *(["w1"] if command == "story" else []), "--log", str(path))
    assert done.exit_code == 0
    assert done.stdout


@pytest.mark.parametrize("option", [["--at-rest"], ["--log", "log.parquet"]])
def test_following_does_not_go_with_the_past(option: list[str]) -> None:
    done = invoke("check", "--follow", *option)
    assert f"--follow goes on: {option[0]} speaks of what is over" in str(done.exception)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "resurgam.py"), *arguments]
    return subprocess.run(command, cwd=folder, env=variables(), capture_output=True, text=True, timeout=60, check=False)


def variables() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESURGAM_")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}


def test_exit_codes_and_sentences(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a note")
    for arguments, code, sentence in (
        (["check", "--log", "gone.parquet"], 4, "resurgam: there is no file gone.parquet: 'resurgam replay export"),
        (["check", "--log", "notes.txt"], 4, "resurgam: notes.txt is no Parquet file: "),
        (["check"], 2, "resurgam: no system is known in .resurgam: "),
        (["check", "--nats-url", "nats://127.0.0.1:9"], 3, "resurgam: no NATS server answers at nats://127.0.0.1:9"),
        (["check", "--from", "0"], 2, "Invalid value for '--from'"),
        (["check", "--follow", "--at-rest"], 2, "resurgam: --follow goes on: --at-rest speaks of what is over"),
        (["replay", "export"], 2, "Missing argument 'FILE'"),
    ):
        done = run(tmp_path, *arguments)
        assert (done.returncode, sentence in done.stderr) == (code, True), (arguments, done)


def drafts_of(story: Story) -> list[Draft]:
    """To be written into a log of one's own: what was decided is decided on the same sequences there."""
    envelopes = [recorded.envelope for recorded in story.records]
    return [Draft(msgspec.structs.replace(envelope, id=new_id())) for envelope in envelopes if envelope is not None]


async def test_a_live_system(broker: BrokerProcess, streams: Streams, tmp_path: Path) -> None:
    """Checked, exported, and followed until somebody has seen enough."""
    from events.connection import Connection
    from events.streams import ensure_streams

    bus = await Connection.connect(broker.url, name="test")
    await ensure_streams(bus, streams)
    log = JetStreamLog(bus, streams)
    story, sequence = wrong()
    drafts = drafts_of(story)
    await log.append(drafts[:-1])
    where = ["--nats-url", broker.url, "--namespace", streams.namespace]
    clean = await asyncio.to_thread(run, tmp_path, "check", *where)
    assert (clean.returncode, clean.stderr) == (0, "")
    exported = await asyncio.to_thread(run, tmp_path, "replay", "export", "log.parquet", *where)
    assert exported.stdout == f"log.parquet: {len(drafts) - 1} events and 0 heartbeats\n"
    with Archive(tmp_path / "log.parquet") as archive:
        rows: list[Message] = archive.messages("EVENTS")
    assert [row.sequence for row in rows] == list(range(1, len(drafts)))
    follower = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "resurgam.py"), "check", "--follow", *where),
        cwd=tmp_path,
        env=variables(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert follower.stdout is not None
    await log.append(drafts[-1:])
    async with asyncio.timeout(30):
        assert await follower.stdout.readline() == (
            f"one-live-attempt at {sequence} (t1): attempt 1 is running at w1 still\n".encode()
        )
        shown = (await follower.stdout.readline()).decode().strip()
        assert shown == f"resurgam replay story t1 --nats-url {broker.url} --namespace {streams.namespace}"
        follower.send_signal(signal.SIGINT)
        rest = (await follower.stdout.read()).decode()
        assert await follower.wait() == 1
    assert rest.splitlines()[-2].startswith(f"checked {len(drafts)} events, ")
    await bus.close()
