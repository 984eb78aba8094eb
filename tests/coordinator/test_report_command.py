"""`resurgam report` as people meet it: forms, files, and what it says where there is nothing to say."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from coordinator.commands.report import Form, _write, _written, report
from coordinator.faults import Fault, FileFault, UsageFault
from projections.database import Database
from projections.report.gather import gather, of_incident
from tests.projections.seasons import history_of
from tests.projections.test_report import told

SINCE = ("--since", "1h")


def run(*arguments: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "resurgam", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return told().write(tmp_path_factory.mktemp("report") / "history.duckdb")


def test_for_people(history: Path) -> None:
    done = run("--db-path", history, *SINCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# Recovery report\n")
    assert "| recovery success rate | 50 % | > 95 % | missed |" in done.stdout


def test_a_page_by_the_name_of_its_file(history: Path, tmp_path: Path) -> None:
    page = tmp_path / "monday.html"
    done = run("--db-path", history, "--run", "r1", "--output", page)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{page} written\n")
    assert page.read_text().startswith("<!doctype html>")
    assert page.read_text().count("<svg class=") == 3


def test_for_programs(history: Path) -> None:
    with duckdb.connect(str(history), read_only=True) as connection:
        asked = history_of(connection)
        made = gather(asked, of_incident(asked, "i1", datetime.now(UTC)), datetime.now(UTC))
    read = json.loads(_written(made, Form.json))
    assert read["scope"]["incident_id"] == "i1"
    assert read["incident"]["kind"] == "mass_worker_loss"
    assert {figure["metric"] for figure in read["figures"]} >= {"recovery_success", "recovery_time", "detection_time"}
    assert read["cases"][0]["chain"]
    assert read["scope"]["until"].endswith("Z")


WRONG: dict[str, tuple[dict[str, Any], int, str]] = {
    "a run that never was": ({"run": "r7"}, 2, "there is no run 'r7'; did you mean r1?"),
    "an incident that never was": ({"incident": "x"}, 2, "there is no incident 'x'; the newest is i1"),
    "both": ({"run": "r1", "incident": "i1"}, 2, "a report is on one of them"),
    "a bad window": ({"since": "yesterday"}, 2, "--since 'yesterday' is no time: it takes a span such as 90m"),
    "a window the wrong way round": ({"until": "2020-01-01", "since": "2021-01-01"}, 2, "ends before"),
    "an empty window": ({"since": "2d", "until": "1d"}, 1, "there is nothing to report on: nothing happened from"),
    "a name without a form": ({"output": Path("report.pdf")}, 2, "its name says no format, so give --format"),
    "no such folder": ({"output": Path("/nowhere/at/all.html")}, 2, "there is no folder /nowhere/at"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_a_sentence(history: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, code, said = WRONG[name]
    with pytest.raises(Fault, match=re.escape(said)) as fault:
        report(db_path=history, **arguments)
    assert fault.value.exit_code == code
    assert capsys.readouterr().out == ""


def test_a_history_without_events(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    Database.open(path).close()
    done = run("--db-path", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "resurgam: there is nothing to report on: the history holds no event yet\n"


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "report.md"
    folder.mkdir()
    with pytest.raises(FileFault, match="it cannot be written: Is a directory"):
        _write("# Recovery report\n", folder)


def test_a_page_is_not_poured_into_a_terminal(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(UsageFault, match="name a file with --output"):
        report(db_path=history, form=Form.html)
