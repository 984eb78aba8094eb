"""`resurgam metrics` as people meet it."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console

from coordinator.commands import metrics as command
from coordinator.commands.metrics import WIDE
from projections.figures import Figure, amount, basis, lag, verdict
from projections.window import Window
from replay import tables
from tests.projections.telling import Telling


def run(*arguments: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "resurgam", "metrics", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """w1 is out for 5 s and comes back. An hour later w2 is given up, w1 fails in a drill, and one task waits."""
    story = Telling()
    story.register(0, "w1")
    story.register(0, "w2")
    story.die(10, "w1")
    story.recover(15, "w1")
    story.die(3610, "w2")
    story.give_up(3620, "w2")
    story.fail(3630, "w1", "synthetic", synthetic="drill")
    story.submit(3640)
    return story.write(tmp_path_factory.mktemp("metrics") / "history.duckdb")


def cells(printed: str, title: str) -> list[str]:
    """The columns of a figure's line behind its title, however wide they are."""
    [line] = [line for line in printed.splitlines() if title in line]
    return line.partition(title)[2].split()


def test_a_missed_target(history: Path) -> None:
    done = run("--db-path", history)
    assert (done.returncode, done.stderr) == (1, "")
    assert cells(done.stdout, "recovery success rate") == ["50", "%", ">", "95", "%", "NO", "1", "of", "2", "1"]
    assert cells(done.stdout, "average recovery time") == [
        "5",
        "s",
        "<",
        "30",
        "s",
        "yes",
        "n",
        "=",
        "1",
        "5",
        "s",
        "5",
        "s",
        "5",
        "s",
        "2",
    ]
    assert cells(done.stdout, "task preservation") == ["n/a", ">", "99", "%", "n/a", "0", "of", "0"]
    assert cells(done.stdout, "tasks waiting") == ["1", "1", "of", "1"]
    assert "projection lag" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--until", "30m"], 0),
        (["--since", "1m"], 1),
        (["--since", "15s"], 5),
        (["--since", "15s", "--include-synthetic", "--include-operator"], 5),
        (["--by", "reason"], 1),
        (["--by", "worker", "--until", "30m"], 0),
    ],
)
def test_the_exit_code_tells_whether_targets_are_met(history: Path, arguments: list[str], code: int) -> None:
    assert run("--db-path", history, *arguments).returncode == code


def test_groups(history: Path) -> None:
    done = run("--db-path", history, "--by", "worker")
    assert done.stdout.splitlines()[1].split()[:3] == ["WORKER", "FIGURE", "VALUE"]
    assert cells(done.stdout, "w2      recovery success rate") == ["0", "%", ">", "95", "%", "NO", "0", "of", "1"]
    done = run("--db-path", history, "--by", "reason", "--since", "5s")
    assert "nothing has happened in it that could be told apart by reason" in done.stdout


def test_for_programs(history: Path) -> None:
    told = json.loads(run("--db-path", history, "--json").stdout)
    assert told["until"] > told["since"]
    first = told["figures"][0]
    assert (first["metric"], first["value"], first["met"], first["group"]) == ("recovery_success", 0.5, False, None)
    assert (first["numerator"], first["denominator"], first["excluded"]) == (1.0, 2, 1)
    grouped = json.loads(run("--db-path", history, "--json", "--by", "worker").stdout)
    assert {figure["group"] for figure in grouped["figures"]} == {"w1", "w2"}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--by", "wroker"], 2, "resurgam: --by 'wroker': did you mean 'worker'?"),
        (["--by", "moon"], 2, "resurgam: --by 'moon': there are reason, worker"),
        (["--since", "yesterday"], 2, "resurgam: --since 'yesterday' is no time: it takes a span"),
        (["--since", "1h", "--until", "2026-09-20"], 0, ""),
        (["--since", "2030-01-01"], 2, "resurgam: --since 2030-01-01: that window begins at 2030-01-01"),
    ],
)
def test_what_cannot_be(history: Path, arguments: list[str], code: int, sentence: str) -> None:
    done = run("--db-path", history, *arguments)
    assert done.returncode == (code or 5)
    assert done.stderr.startswith(sentence)


def test_histories_that_cannot_be_asked(tmp_path: Path) -> None:
    done = run("--db-path", tmp_path / "nowhere.duckdb")
    assert (done.returncode, done.stdout) == (4, "")
    assert "there is no such file" in done.stderr
    old = tmp_path / "old.duckdb"
    with duckdb.connect(str(old)) as connection:
        connection.execute('CREATE TABLE position AS SELECT 1 AS "sequence"')
        connection.execute("CREATE TABLE events AS SELECT make_timestamp(1) AS recorded_at")
    done = run("--db-path", old)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("resurgam: this history was made by an older program, which knew no metrics")


def test_a_history_without_events(tmp_path: Path) -> None:
    path = Telling().write(tmp_path / "history.duckdb")
    done = run("--db-path", path)
    assert (done.returncode, done.stdout) == (5, "no metrics: the history holds no event yet\n")
    assert json.loads(run("--db-path", path, "--json").stdout) == {"figures": []}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.0, "share", "100 %"),
        (0.98067, "share", "98.07 %"),
        (0.0, "share", "0 %"),
        (0.1024, "s", "0.102 s"),
        (14.333, "s", "14.3 s"),
        (123456.0, "s", "123,456 s"),
        (2000.0, "tasks", "2,000"),
    ],
)
def test_amounts(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_how_far_the_answer_was_behind() -> None:
    figure = lag(12, 0.5)
    assert (basis(figure), figure.value, figure.unit, verdict([figure])) == ("12 events behind", 0.5, "s", None)


def test_the_verdict_is_about_what_can_be_told() -> None:
    def told(*, met: bool | None) -> Figure:
        return Figure(
            metric="m",
            title="m",
            kind="mean",
            value=1,
            unit="s",
            target=1,
            above=True,
            met=met,
            numerator=1,
            denominator=1,
        )

    assert verdict([told(met=None)]) is None
    assert verdict([told(met=None), told(met=True)]) is True
    assert verdict([told(met=True), told(met=False)]) is False


@pytest.mark.parametrize(("width", "spread"), [(80, False), (WIDE, True)])
def test_a_narrow_terminal_shows_whole_lines(
    width: int, spread: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "console", lambda: Console(width=width, highlight=False))
    figure = Figure(
        metric="recovery_time",
        title="success of single attempts",
        kind="mean",
        value=12.3456,
        unit="s",
        target=30.0,
        above=False,
        met=True,
        numerator=37.0,
        denominator=3,
        excluded=12,
        median=1.0,
        p95=22.2,
        maximum=33.3,
    )
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    command._print([figure], Window(moment, moment), None)
    _, heading, line = capsys.readouterr().out.splitlines()
    assert ("MEDIAN" in heading) is spread
    assert ("22.2 s" in line) is spread
    assert line.split()[-1] == "12"
