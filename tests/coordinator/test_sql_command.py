"""`resurgam sql`: the forms of an answer, and the prompt."""

import io
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nanoarrow
import pytest

from coordinator.commands.sql_forms import Form, written
from coordinator.commands.sql_prompt import HELP, WELCOME, Prompt
from projections.client import Result
from projections.database import Database
from projections.errors import QueryError
from tests.projections.farm import Farm
from tests.projections.histories import recorded_from

RESULT = Result(
    ["n", "big", "share", "paid", "at", "ok", "name", "labels"],
    ["BIGINT", "HUGEINT", "DOUBLE", "DECIMAL(4,2)", "TIMESTAMP", "BOOLEAN", "VARCHAR", "VARCHAR[]"],
    [
        [1, 2**70, 0.5, 1.25, "2026-01-02T03:04:05.000006", True, "a,b", ["x"]],
        [None, None, None, None, None, None, None, None],
    ],
    truncated=False,
    through_sequence=9,
)


def test_csv_and_json() -> None:
    lines = written(RESULT, Form.csv).decode().splitlines()
    assert lines[0] == "n,big,share,paid,at,ok,name,labels"
    assert lines[1].startswith('1,1180591620717411303424,0.5,1.25,2026-01-02T03:04:05.000006,True,"a,b"')
    assert b'"share": 0.5' in written(RESULT, Form.json)
    assert "2026-01-02" in written(RESULT, Form.table).decode()


def test_arrow_keeps_numbers_and_times() -> None:
    stream = nanoarrow.ArrayStream.from_readable(written(RESULT, Form.arrow))
    read = stream.read_all()
    assert [(field.name, field.type.name) for field in read.schema.fields] == [
        ("n", "INT64"),
        ("big", "STRING"),  # beyond 64 bits
        ("share", "DOUBLE"),
        ("paid", "DOUBLE"),
        ("at", "TIMESTAMP"),
        ("ok", "BOOL"),
        ("name", "STRING"),
        ("labels", "STRING"),
    ]
    first, second = read.iter_tuples()
    assert first[:4] == (1, str(2**70), 0.5, 1.25)
    assert first[4].isoformat() == "2026-01-02T03:04:05.000006"
    assert first[5:] == (True, "a,b", '["x"]')
    assert second == (None,) * 8


def test_arrow_of_two_columns_of_one_name() -> None:
    twice = Result(["n", "n"], ["BIGINT", "BIGINT"], [[1, 2]], truncated=False, through_sequence=0)
    read = nanoarrow.ArrayStream.from_readable(written(twice, Form.arrow)).read_all()
    assert [field.name for field in read.schema.fields] == ["n", "n_2"]


def test_arrow_of_nothing() -> None:
    nothing = Result(["n", "name"], ["BIGINT", "VARCHAR"], [], truncated=False, through_sequence=0)
    assert len(nanoarrow.ArrayStream.from_readable(written(nothing, Form.arrow)).read_all()) == 0


def typed(lines: Iterable[str | type[BaseException]]) -> Callable[[str], str]:
    """Somebody at the keyboard, who ends with Ctrl-D."""
    rest = iter(lines)

    def read(_: str) -> str:
        line = next(rest, EOFError)
        if isinstance(line, str):
            return line
        raise line

    return read


def prompt(lines: Iterable[Any], answers: dict[str, Result | BaseException] | None = None) -> list[str]:
    """What was asked."""
    asked: list[str] = []

    def ask(text: str) -> Result:
        asked.append(text)
        answer = (answers or {}).get(text, RESULT)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    Prompt(ask, Form.csv, typed(lines)).run()
    return asked


def test_statements_of_one_line_and_of_several() -> None:
    assert prompt(["SELECT 1;", "", "SELECT", "  2", ";", "FROM x", "", ".quit", "SELECT 3;"]) == [
        "SELECT 1;",
        "SELECT\n  2\n;",
        "FROM x",
    ]


def test_neither_an_error_nor_ctrl_c_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    answers: dict[str, Result | BaseException] = {
        "FROM nowhere;": QueryError("there is no table nowhere"),
        "FROM slow;": KeyboardInterrupt(),
    }
    lines = ["FROM nowhere;", "SELECT", KeyboardInterrupt, "FROM slow;", ".format xml", ".nonsense", "SELECT 1;"]
    assert prompt(lines, answers) == ["FROM nowhere;", "FROM slow;", "SELECT 1;"]
    said = capsys.readouterr()
    assert "there is no table nowhere" in said.err
    assert ".format xml: it takes table, csv or json" in said.err
    assert HELP in said.err
    assert said.err.startswith(WELCOME)
    assert "2 rows; events up to 9" in said.err
    assert said.out.startswith("n,big,share")


def test_a_defect_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        prompt(["SELECT 1;"], {"SELECT 1;": ZeroDivisionError()})


def test_commands() -> None:
    tables, schema = prompt([".tables", '.schema odd"name', ".schema", ".format json"])
    assert "information_schema" in tables
    assert '"odd""name"' in schema


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "history.duckdb"
    database = Database.open(path)
    database.apply(recorded_from(Farm(5).drafts(), 200))
    database.close()
    return path


def seen_in_a_terminal(ours: int, within_s: float = 60.0) -> str:
    """What a program has written by the time that it closes its terminal."""
    seen = io.BytesIO()
    deadline = time.monotonic() + within_s
    while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            return seen.getvalue().decode()
        seen.write(part)
    raise AssertionError(f"it has not ended within {within_s:g} s: {seen.getvalue()!r}")


def test_the_prompt_in_a_terminal(history: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "resurgam", "sql", "--db-path", str(history), "--state-dir", str(tmp_path)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        os.write(ours, b"SELECT count(*) AS n\nFROM events;\nFROM nowhere;\n.schema tasks\n.quit\n")
        text = seen_in_a_terminal(ours)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert "200" in text
    assert "nowhere does not exist" in text
    assert "completed_at" in text
    assert "SELECT count(*) AS n" in (tmp_path / "sql_history").read_text()


def run(*arguments: Any, typed_in: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "resurgam", "sql", *arguments]
    return subprocess.run(command, input=typed_in, capture_output=True, check=False, timeout=60)


def test_without_a_terminal_the_statement_comes_from_standard_input(history: Path) -> None:
    done = run("--db-path", history, "--format", "csv", typed_in=b"SELECT count(*) AS n FROM events")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"n\n200\n", b"")


BAD = [
    ("SELEC 1", 'syntax error at or near "SELEC"'),
    ("SELECT nothing FROM tasks", 'Referenced column "nothing" not found'),
    ("FROM nowhere", "Table with name nowhere does not exist"),
    ("DELETE FROM tasks", "only SELECT and EXPLAIN are taken"),
]


@pytest.mark.parametrize(("statement", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_sql_is_a_sentence(history: Path, statement: str, said: str) -> None:
    done = run("--db-path", history, statement)
    assert (done.returncode, done.stdout) == (1, b"")
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_an_empty_history_has_no_rows_and_an_empty_database_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    Database.open(path).close()
    done = run("--db-path", path, "--format", "json", "FROM tasks")
    assert (done.returncode, done.stdout) == (0, b"[]\n")
    import duckdb

    empty = tmp_path / "empty.duckdb"
    duckdb.connect(str(empty)).close()
    done = run("--db-path", empty, "FROM tasks")
    assert done.returncode == 1
    assert "this file holds no history" in done.stderr.decode()
