"""`resurgam patterns` as people meet it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from projections.database import Database
from tests.projections.seasons import Plant, Season, stored


def run(*arguments: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "resurgam", "patterns", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(Season(21, Plant(days=4.0, killer=True)).records, tmp_path_factory.mktemp("patterns") / "h.duckdb")


def test_a_killer_in_words_and_for_programs(history: Path) -> None:
    done = run("--db-path", history, "--since", "30d")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1. workers die under test_killer" in done.stdout
    assert "SELECT id, min(failed_at)" in done.stdout
    told = json.loads(run("--db-path", history, "--since", "30d", "--json").stdout)
    assert told["findings"][0]["subject"] == "test_killer"
    assert told["until"] > told["since"]


def test_what_cannot_be(history: Path, tmp_path: Path) -> None:
    done = run("--db-path", history, "--since", "soon")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--since 'soon' is no time" in done.stderr
    done = run("--db-path", tmp_path / "nowhere.duckdb")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no such file" in done.stderr


def test_a_history_without_events(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    Database.open(path).close()
    done = run("--db-path", path)
    assert (done.returncode, done.stdout) == (0, "no patterns: the history holds no event yet\n")
    assert json.loads(run("--db-path", path, "--json").stdout) == {"findings": [], "tried": 0, "failures": 0}
