"""One history file: what is taken, what is refused, and what happens when the disk does not do its part."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from events.policy import Policy
from events.system import LogDamaged, PolicyChanged
from events.task import TaskAssigned, TaskSubmitted
from events.work import CommandWork
from events.worker import WorkerReadmitted, WorkerRegistered
from projections import mapping
from projections.copies import SPARE
from projections.database import Database
from projections.errors import Refused, Unreadable, WriteFailed
from projections.tables import ALL_TABLES, SCHEMA_VERSION, TABLES
from projections.views import VIEWS
from tests.projections.farm import Farm
from tests.projections.histories import dump, garbage, record, recorded_from, select, spoil
from tests.projections.test_resource_impact import measured

WORK = CommandWork(argv=("true",), cwd="/srv")
LOG = recorded_from(Farm(3).drafts(), 400)


def filled(path: Path) -> Path:
    database = Database.open(path)
    database.apply(LOG)
    database.close()
    return path


def test_an_empty_file_is_taken_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    path.touch()
    database = Database.open(path)
    assert database.position == (0, "")
    database.close()


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.duckdb")
    database = Database.open(path)
    assert database.position == (400, LOG[-1].id)
    assert database.outdated is None
    database.close()


def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("the only copy")
    with pytest.raises(Refused, match="is not a DuckDB file"):
        Database.open(path)
    assert path.read_text() == "the only copy"


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sales.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE sales AS SELECT 42 AS total")
        connection.execute("CREATE TABLE position (x INTEGER)")
    with pytest.raises(Refused, match="somebody else's database \\(it has a table 'position'\\)"):
        Database.open(path)
    assert select(path, "FROM sales") == [(42,)]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not a file"):
        Database.open(tmp_path)
    with pytest.raises(Refused, match="there is no folder"):
        Database.open(tmp_path / "nowhere" / "history.duckdb")


def test_a_file_that_is_open_elsewhere_is_refused_with_the_holder(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.duckdb")
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import duckdb; c = duckdb.connect({str(path)!r}); print('open', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(Refused, match=f"process {holder.pid} .* has it open"):
            Database.open(path)
        holder.kill()


@pytest.mark.parametrize("damage", ["header", "half", "truncated"])
def test_a_broken_file_is_unreadable(tmp_path: Path, damage: str) -> None:
    path = filled(tmp_path / "history.duckdb")
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[4096:8300] = b"\xff" * 4204
        content[8200:12300] = b"\xff" * 4100
    elif damage == "half":
        content = content[: len(content) // 2]
    else:
        content = content[:5000]
    path.write_bytes(content)
    with pytest.raises(Unreadable):
        Database.open(path).apply([record(401, WorkerReadmitted(worker_id="worker-1", actor="me"))])


def test_another_schema_version_is_outdated(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE position SET schema_version = 99")
    database = Database.open(path)
    assert database.outdated == f"its schema has version 99, this program's has {SCHEMA_VERSION}"
    database.close()


def test_a_changed_table_is_outdated(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE tasks DROP COLUMN message")
    database = Database.open(path)
    assert database.outdated == "its table tasks is not as this program makes it"
    database.close()


def test_what_an_older_program_parked_and_this_one_understands_is_outdated(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    known = mapping.parked(LOG[0], "unknown kind 'system.leader': written by a newer version, or by a stranger")
    database = Database.open(path)
    database.apply([known, garbage(2)])
    database.close()
    database = Database.open(path)
    assert database.outdated == "it parked event 1, which this program understands"
    database.close()


def test_a_value_that_the_database_refuses_is_parked_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event does this today; the next kind of event may."""
    spoil(monkeypatch, 123)
    path = filled(tmp_path / "history.duckdb")
    found = dump(path)
    assert [(row[0], row[3].startswith(mapping.REFUSED)) for row in found["parked_events"]] == [(123, True)]
    assert len(found["events"]) == 399
    assert found["position"] == [(SCHEMA_VERSION, 400, LOG[-1].id, 0, 0.0)]
    database = Database.open(path)
    assert database.outdated is None
    database.close()


def test_strange_text_and_numbers_survive(tmp_path: Path) -> None:
    host = "a\x00b \N{SNOWMAN} \U0001f600 \\u0000 \"'"
    work = CommandWork(argv=("x" * 32_000,), cwd="/srv")
    path = tmp_path / "history.duckdb"
    database = Database.open(path)
    database.apply(
        [
            record(1, WorkerRegistered(worker_id="w1", host=host, pid=2**63 - 1, slots=1)),
            record(2, TaskSubmitted(task_id="t1", run_id="r1", work=work, timeout_s=1e-05)),
            garbage(3, bytes(range(256))),
        ]
    )
    database.close()
    assert select(path, "SELECT host, pid FROM workers") == [(host, 2**63 - 1)]
    assert select(path, "SELECT length(command) FROM tasks") == [(32_000,)]
    assert select(path, "SELECT payload FROM parked_events") == [(bytes(range(256)),)]
    ((payload,),) = select(path, "SELECT payload FROM events WHERE sequence = 1")
    assert msgspec.json.decode(payload)["host"] == host


def test_a_number_too_large_for_its_column_is_parked_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches the database, which refuses it: a NULL in its place would be a loss in silence."""
    monkeypatch.setattr(mapping, "_too_large", lambda event, plan: None)
    path = tmp_path / "history.duckdb"
    database = Database.open(path)
    submitted = [TaskSubmitted(task_id=f"t{number}", run_id="r1", work=WORK) for number in (1, 2)]
    assigned = TaskAssigned(task_id="t1", worker_id="w1", incarnation=1, attempt=2**40, work=WORK)
    database.apply([record(1, submitted[0]), record(2, assigned), record(3, submitted[1])])
    database.close()
    ((sequence, reason),) = select(path, "SELECT sequence, reason FROM parked_events")
    assert sequence == 2
    assert reason.startswith(mapping.REFUSED)
    assert select(path, "SELECT task_id, attempts FROM tasks ORDER BY task_id") == [("t1", 0), ("t2", 0)]


def test_gaps_are_found_until_they_are_reported(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "history.duckdb")
    kept = [recorded for recorded in LOG if recorded.sequence not in {1, 50, 51, 52, 99}]
    database.apply(kept)
    assert database.unreported_gaps() == [(1, 1), (50, 52), (99, 99)]
    database.apply([record(401, LogDamaged(first=50, last=52, noticed_by="leader"))])
    assert database.unreported_gaps() == [(1, 1), (99, 99)]
    database.close()


def test_a_snapshot_is_the_same_and_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / 'it\'s "odd".v2.duckdb'
    target = tmp_path / "snap'shot.duckdb"
    database = Database.open(path)
    database.apply(LOG[:200])
    assert database.publish(target) == database.position
    assert select(target, "SELECT sequence FROM position") == [(200,)]
    database.apply(LOG[200:])
    assert database.publish(target).sequence == 400
    database.close()
    assert dump(target) == dump(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, target.name, target.name + SPARE])
    for view in VIEWS:
        select(target, f"FROM {view}")


def test_every_table_is_as_defined(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.duckdb")
    for table in ALL_TABLES:
        found = select(path, f"SELECT column_name, column_type FROM (DESCRIBE {table.name})")
        assert dict(found) == {name: column.sql for name, column in table.columns.items()}
        assert list(table.columns) == list(table.row.__struct_fields__)


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
from projections.database import Database
from projections.errors import Refused, WriteFailed
from tests.projections.farm import Farm
from tests.projections.histories import recorded_from

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
log = recorded_from(Farm(3).drafts(), 3000)
database = Database.open(path)
database.apply(log[:500])
size = path.stat().st_size + path.with_name(path.name + ".wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
failed = 0
for _ in range(3):
    try:
        database.apply(log[database.position.sequence:])
    except WriteFailed as error:
        failed += 1
    database.close()
    try:
        database = Database.open(path)
    except (Refused, WriteFailed):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * 3, resource.RLIM_INFINITY))
        database = Database.open(path)
    print("position", database.position.sequence)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
database.apply(log[database.position.sequence:])
database.close()
print("failed", failed)
"""


def test_a_full_disk_stores_nothing_half(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, path],
        env=os.environ | {"PYTHONPATH": os.getcwd()},  # noqa: PTH109
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *positions, failed = done.stdout.split("\n")[:-1]
    assert set(positions) == {"position 500"}
    assert failed == "failed 3"
    database = Database.open(tmp_path / "whole.duckdb")
    database.apply(recorded_from(Farm(3).drafts(), 3000))
    database.close()
    assert dump(path) == dump(tmp_path / "whole.duckdb")


def test_an_error_of_the_system_is_not_taken_for_damage(tmp_path: Path) -> None:
    path = filled(tmp_path / "history.duckdb")
    database = Database.open(path)

    class Full:
        def execute(self, *arguments: Any) -> Any:
            raise duckdb.IOException("IO Error: Could not write to the WAL: No space left on device")

        def close(self) -> None: ...

    connection = database._connection
    database._connection = Full()  # type: ignore[assignment]
    with pytest.raises(WriteFailed, match="No space left"):
        database.apply([record(401, WorkerReadmitted(worker_id="w1", actor="me"))])
    connection.close()


def test_32_every_table_is_written_by_the_real_duckdb(tmp_path: Path) -> None:
    """A log in which everything happens leaves rows in every table that is made from the log."""
    path = tmp_path / "history.duckdb"
    database = Database.open(path)
    database.apply([*recorded_from(Farm(5, failure_share=0.1).drafts(), 3_000)])
    last = database.position.sequence
    database.apply(
        [
            record(last + 1, PolicyChanged(policy=Policy(), policy_hash="0", actor="alice")),
            record(last + 2, measured()),
            garbage(last + 3),
        ]
    )
    database.close()
    empty = [table.name for table in TABLES if select(path, f"SELECT count(*) FROM {table.name}") == [(0,)]]
    assert empty == []
