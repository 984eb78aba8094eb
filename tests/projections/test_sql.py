"""One statement on one file: what is answered, and what hostile statements come to."""

import math
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import msgspec
import pytest

from projections import child, query
from projections.client import QueryError, Result, query_file
from projections.database import Database
from projections.sql import REPLY_BYTES_MAX
from tests.projections.farm import Farm
from tests.projections.histories import dump, recorded_from

ENDLESS = "SELECT count(*) FROM range(100_000) a, range(1_000_000_000) b WHERE a.range * b.range % 7 = 3"
SECRET = "a secret that no statement may see"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sql")
    path = folder / "history.duckdb"
    database = Database.open(path)
    database.apply(recorded_from(Farm(5).drafts(), 500))
    database.close()
    (folder / "secret.csv").write_text(SECRET)
    with duckdb.connect(str(folder / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE other AS SELECT 1 AS x")
    return path


def run(path: Path, statement: str, *, timeout_s: float = 20.0, rows_max: int = 1000) -> Result:
    return child.Statement(path, statement, timeout_s=timeout_s, rows_max=rows_max, bytes_max=REPLY_BYTES_MAX).run()


def test_a_statement_has_a_typed_result(history: Path) -> None:
    found = run(history, "SELECT count(*) AS events, max(recorded_at) AS last FROM events")
    assert (found.columns, found.types) == (["events", "last"], ["BIGINT", "TIMESTAMP"])
    assert found.rows[0][0] == 500
    assert found.rows[0][1].startswith("2026-09-21T")
    assert (found.truncated, found.through_sequence) == (False, 500)
    assert found.records()[0]["events"] == 500


VALUES: list[tuple[str, object]] = [
    ("1 + 1", 2),
    ("NULL", None),
    ("'NaN'::DOUBLE", "nan"),
    ("1.5::DECIMAL(4, 2)", 1.5),
    ("12345678901234567890.5", "12345678901234567890.5"),
    ("170141183460469231731687303715884105727::HUGEINT", 2**127 - 1),
    ("'\\x00\\xFF'::BLOB", "00ff"),
    ("[1, NULL]", [1, None]),
    ("{'a': DATE '2026-01-02', 'b': ['inf'::DOUBLE]}", {"a": "2026-01-02", "b": ["inf"]}),
    ("MAP {1: TIME '01:02:03'}", {"1": "01:02:03"}),
    ("INTERVAL 90 MINUTE", "1:30:00"),
    ("'12345678-1234-1234-1234-123456789012'::UUID", "12345678-1234-1234-1234-123456789012"),
    ("'a' || chr(0)", "a\x00"),
    ("'{\"a\": 1}'::JSON", '{"a": 1}'),
]


def test_values(history: Path) -> None:
    (row,) = run(history, "SELECT " + ", ".join(expression for expression, _ in VALUES)).rows
    assert row == [expected for _, expected in VALUES]


def test_rows_are_limited(history: Path) -> None:
    found = run(history, "SELECT sequence FROM events ORDER BY sequence", rows_max=3)
    assert (found.rows, found.truncated) == ([[1], [2], [3]], True)
    assert not run(history, "SELECT 1 FROM range(3)", rows_max=3).truncated
    # What is cut off is never computed.
    assert run(history, "SELECT i FROM range(1_000_000_000_000) t(i)", rows_max=2).rows == [[0], [1]]


def test_the_result_is_limited_in_bytes(history: Path) -> None:
    found = run(history, "SELECT repeat('x', 100_000) FROM range(20)")
    assert found.truncated
    assert len(found.rows) == 8
    assert run(history, "SELECT repeat('x', 2_000_000)").rows == []


HARMLESS = [
    # They look worse than they are: nothing is changed outside the child. Not every DuckDB takes all of them.
    "SELECT * FROM checkpoint()",
    "SELECT write_log('x')",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM enable_logging(storage = 'file', storage_config = {'path': '{folder}/stolen'})",
    "SELECT * FROM enable_profiling(save_location = '{folder}/stolen.json', format = 'json')",
    "SELECT * FROM enable_profiling(save_location = '{folder}/stolen.txt')",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = '{folder}/stolen')",
    "PRAGMA database_list",
    "SELECT * FROM read_duckdb('{folder}/history.duckdb', table_name = 'events')",
    "SELECT " + "(" * 3000 + "1" + ")" * 3000,
    "FROM duckdb_settings()",
]

WELCOME = [
    "EXPLAIN SELECT * FROM events",
    "EXPLAIN ANALYZE SELECT count(*) FROM events",
    "FROM tasks",
    "DESCRIBE tasks",
    "SHOW TABLES",
    "SUMMARIZE workers",
    "WITH t AS (SELECT 1 AS x) SELECT * FROM t",
    "SELECT entity, row_number() OVER (ORDER BY sequence) FROM events -- a comment; with a semicolon",
    "VALUES (1), (2)",
    "SELECT payload->>'$.kind', count(*) FROM events GROUP BY 1",
    "FROM worker_recovery_metrics",
    "SELECT 1;",
]


@pytest.mark.parametrize("statement", WELCOME, ids=lambda statement: statement[:60])
def test_welcome_statements(history: Path, statement: str) -> None:
    assert run(history, statement).columns


@pytest.mark.parametrize("statement", HARMLESS, ids=lambda statement: statement[:60])
def test_harmless_statements(history: Path, statement: str) -> None:
    before, refusal = sorted(history.parent.iterdir()), ""
    try:
        assert run(history, statement.replace("{folder}", str(history.parent))).columns
    except QueryError as refused:
        refusal = str(refused)
    assert "process" not in refusal, "by DuckDB, and no accident"
    assert sorted(history.parent.iterdir()) == before


HOSTILE = [
    # Writing, in every dress.
    "INSERT INTO tasks (task_id) VALUES ('x')",
    "UPDATE position SET sequence = 0",
    "DELETE FROM events",
    "DROP TABLE events",
    "CREATE TABLE x (i INTEGER)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE OR REPLACE VIEW failures AS SELECT 1",
    "CREATE MACRO f() AS 1",
    "CREATE SEQUENCE s",
    "ALTER TABLE events ADD COLUMN x INTEGER",
    "TRUNCATE events",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "VACUUM",
    "WITH gone AS (DELETE FROM events RETURNING *) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM events",
    "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
    # More than one statement, and nothing at all.
    "SELECT 1; SELECT 2",
    "COMMIT; DELETE FROM events",
    "SELECT 1; DROP TABLE events",
    "",
    ";",
    "-- only a comment",
    "PIVOT tasks ON status USING count(*)",
    # Transactions, settings, modules.
    "COMMIT",
    "ROLLBACK",
    "BEGIN",
    "SET memory_limit = '100GB'",
    "SET GLOBAL enable_external_access = true",
    "RESET enable_external_access",
    "SET lock_configuration = false",
    "PRAGMA enable_profiling",
    "PRAGMA memory_limit = '100GB'",
    "CALL pragma_version()",
    "LOAD json",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "USE memory",
    # Files and other databases.
    "ATTACH '{folder}/other.duckdb' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH history",
    "COPY events TO '{folder}/stolen.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "COPY tasks FROM '{folder}/secret.csv'",
    "EXPORT DATABASE '{folder}/stolen'",
    "IMPORT DATABASE '{folder}/stolen'",
    "EXPLAIN ANALYZE COPY events TO '{folder}/stolen.csv'",
    "SELECT * FROM '{folder}/secret.csv'",
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM read_csv_auto('{folder}/secret.csv', header = false)",
    "SELECT * FROM read_text('{folder}/secret.csv')",
    "SELECT * FROM read_blob('{folder}/secret.csv')",
    "SELECT * FROM read_json('{folder}/secret.csv')",
    "SELECT * FROM read_parquet('{folder}/secret.csv')",
    "SELECT * FROM parquet_metadata('{folder}/secret.csv')",
    "SELECT * FROM sniff_csv('{folder}/secret.csv')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_text('/dev/stdin')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "SELECT * FROM query('DROP TABLE events')",
    "SELECT * FROM query_table('{folder}/secret.csv')",
    "SELECT * FROM read_csv('https://example.org/x.csv')",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT content FROM (SELECT unnest(['/etc/passwd']) AS f), read_text(f)",
    "CREATE SECRET s (TYPE s3)",
    "SELECT * FROM sqlite_scan('{folder}/x', 'y')",
    # This program's own variables.
    "SELECT * FROM connection",
    "SELECT * FROM request",
    "SELECT * FROM rows",
    # Functions with an effect.
    "SELECT * FROM force_checkpoint()",
    "SELECT getenv('PATH')",
    "SELECT nextval('s')",
    "SELECT * FROM read_duckdb('{folder}/other.duckdb', table_name = 'other')",
    "SELECT * FROM pandas_scan(NULL)",
    "SELECT * FROM arrow_scan(NULL, NULL, NULL)",
    "FROM duckdb_secrets()",
    "SELECT * FROM pragma_table_info('{folder}/secret.csv')",
    # Nonsense.
    "SELECT",
    "SELECT * FROM nowhere",
    "\x00",
    "(" * 5000,
    "x" * 100_001,
]


@pytest.fixture(scope="module")
def hostile_answers(history: Path) -> dict[str, str]:
    """What each hostile statement comes to; two at a time, as the service does."""
    from concurrent.futures import ThreadPoolExecutor

    def outcome(statement: str) -> str:
        try:
            found = run(history, statement.replace("{folder}", str(history.parent)))
        except QueryError as refused:
            return str(refused)
        return f"ANSWERED {found.rows!r}"[:200]

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(HOSTILE, pool.map(outcome, HOSTILE), strict=True))


@pytest.mark.parametrize("statement", HOSTILE, ids=lambda statement: statement[:60])
def test_hostile_statements_get_nothing(hostile_answers: dict[str, str], statement: str) -> None:
    answer = hostile_answers[statement]
    assert not answer.startswith("ANSWERED"), answer
    assert SECRET not in answer
    assert "root:" not in answer


def test_nothing_hostile_left_a_trace(hostile_answers: dict[str, str], history: Path) -> None:
    assert hostile_answers
    assert {file.name for file in history.parent.iterdir()} == {"history.duckdb", "other.duckdb", "secret.csv"}
    fresh = history.parent.parent / "fresh.duckdb"
    database = Database.open(fresh)
    database.apply(recorded_from(Farm(5).drafts(), 500))
    database.close()
    assert dump(history) == dump(fresh)


def test_the_sandbox_is_closed(history: Path) -> None:
    (found,) = run(history, "SELECT value FROM duckdb_settings() WHERE name = 'enable_external_access'").rows
    assert found == ["false"]


def test_a_statement_that_takes_too_long_is_killed(history: Path) -> None:
    with pytest.raises(QueryError, match=r"was not done within 0\.5 s"):
        run(history, ENDLESS, timeout_s=0.5)


def test_a_child_ends_by_itself_when_nobody_is_left_to_kill_it(history: Path) -> None:
    request = {
        "path": str(history),
        "sql": ENDLESS,
        "timeout_s": 0.1,
        "rows_max": 1,
        "bytes_max": 1000,
    }
    code = f"""
import sys
sys.path.insert(0, {str(Path.cwd())!r})
from projections import query
query.START_S = 0
query.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=msgspec.json.encode(request), capture_output=True, check=False, timeout=20
    )
    assert done.returncode < 0


def in_reserve(reserve: child.Reserve) -> child.Process | None:
    return reserve._waiting


def test_a_child_in_reserve_answers_one_statement(history: Path) -> None:
    reserve = child.Reserve()
    reserve.fill()
    waiting = in_reserve(reserve)
    assert waiting is not None
    reserve.fill()
    assert in_reserve(reserve) is waiting

    def ask(number: int) -> list[list[int]]:
        statement = child.Statement(
            history, f"SELECT {number}", timeout_s=20, rows_max=1, bytes_max=REPLY_BYTES_MAX, take=reserve.take
        )
        return statement.run().rows

    assert ask(1) == [[1]]
    assert waiting.returncode == 0
    assert in_reserve(reserve) is None
    assert ask(2) == [[2]]
    reserve.fill()
    reserve.close()
    reserve.fill()
    assert in_reserve(reserve) is None


def test_a_child_that_has_died_in_reserve_is_replaced(history: Path) -> None:
    reserve = child.Reserve()
    reserve.fill()
    waiting = in_reserve(reserve)
    assert waiting is not None
    waiting.kill()
    waiting.wait()
    statement = child.Statement(history, "SELECT 3", timeout_s=20, rows_max=1, bytes_max=1000, take=reserve.take)
    assert statement.run().rows == [[3]]


def test_a_child_in_reserve_ends_with_whoever_holds_it() -> None:
    process = child.start()
    output, complaint = process.communicate(timeout=20)
    assert (process.returncode, output, complaint) == (0, b"", b"")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT list(i) FROM range(1_000_000_000) t(i)",
        "SELECT i FROM range(300_000_000) t(i) ORDER BY hash(i)",
        "SELECT string_agg(repeat('x', 1_000_000), '') FROM range(10_000)",
    ],
)
def test_a_statement_that_takes_too_much_memory_fails_alone(history: Path, statement: str) -> None:
    with pytest.raises(QueryError, match=r"memory|brought its process down|larger|size"):
        run(history, statement, timeout_s=30)


def test_the_child_is_one_file_that_needs_nothing_of_ours(tmp_path: Path, history: Path) -> None:
    copy = tmp_path / "query.py"
    copy.write_text(Path(query.__file__).read_text())
    request = {"path": str(history), "sql": "SELECT 1", "timeout_s": 20, "rows_max": 1, "bytes_max": 1000}
    done = subprocess.run(
        [sys.executable, "-I", copy], input=msgspec.json.encode(request), capture_output=True, check=True, env={}
    )
    assert msgspec.json.decode(done.stdout)["rows"] == [[1]]


def test_a_file_is_asked_directly_when_nobody_has_it(history: Path, tmp_path: Path) -> None:
    assert query_file(history, "SELECT count(*) FROM events").rows == [[500]]
    with pytest.raises(QueryError, match="there is no such file"):
        query_file(tmp_path / "none.duckdb", "SELECT 1")
    other = tmp_path / "text.txt"
    other.write_text("hello")
    with pytest.raises(QueryError, match="cannot be opened"):
        query_file(other, "SELECT 1")
    with duckdb.connect(str(history)), pytest.raises(QueryError, match="a projector has it open"):
        query_file(history, "SELECT 1")


def test_a_file_with_an_unwritten_log_is_asked_as_well(tmp_path: Path) -> None:
    """As after the projector was killed."""
    path = tmp_path / "history.duckdb"
    code = f"""
import os, sys
sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
from projections.database import Database
from tests.projections.farm import Farm
from tests.projections.histories import recorded_from
database = Database.open(Path({str(path)!r}))
database.apply(recorded_from(Farm(5).drafts(), 500))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ))
    assert Path(f"{path}.wal").exists()
    assert query_file(path, "SELECT count(*) FROM events").through_sequence == 500


def test_plain_values() -> None:
    assert query.plain(math.inf) == "inf"
    assert query.plain(memoryview(b"\x01")) == "01"
