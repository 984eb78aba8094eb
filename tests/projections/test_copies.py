"""Copies for other readers are what the file is, however they came about."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from events.envelope import Recorded
from projections import copies
from projections.copies import SPARE
from projections.database import Database
from projections.errors import WriteFailed
from projections.files import beside
from projections.samples import EVERY, Place
from tests.projections.farm import Farm
from tests.projections.histories import EPOCH, dump, recorded_from, select
from tests.projections.test_samples import row

READER = """
import duckdb, itertools, sys
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    for _ in itertools.chain(["at once"], iter(sys.stdin.readline, "")):
        print(connection.execute("SELECT max(sequence) FROM events").fetchone()[0], flush=True)
"""

LOG = recorded_from(Farm(9, run_tasks=12, failure_share=0.2).drafts(), 700)


def batches(size: int) -> Iterator[list[Recorded]]:
    for begin in range(0, len(LOG), size):
        yield LOG[begin : begin + size]


def samples_of(path: Path) -> list[tuple[int]]:
    return select(path, "SELECT sequence FROM heartbeat_samples ORDER BY 1")


class Made:
    """How often a copy was made of the whole file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        pieces = copies.Copies._pieces

        def counted(self_: copies.Copies, target: Path, behind: copies._Behind) -> Iterator[None]:
            self.times += 1
            return pieces(self_, target, behind)

        monkeypatch.setattr(copies.Copies, "_pieces", counted)


@pytest.mark.parametrize("size", [1, 23, 150])
def test_a_copy_that_is_brought_up_to_date_equals_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    made = Made(monkeypatch)
    path, target = tmp_path / "history.duckdb", tmp_path / "copy.duckdb"
    database = Database.open(path)
    for number, batch in zip(range(9), batches(size), strict=False):
        database.apply(batch)
        if number % 2:
            database.add_samples([row(1 + EVERY * number)], Place(1 + EVERY * number, EPOCH))
        assert database.publish(target) == database.position
        assert select(target, "SELECT sequence FROM position") == [(database.position.sequence,)]
    copied = dump(target), samples_of(target)
    database.close()
    assert copied == (dump(path), samples_of(path))
    assert made.times == 1


def test_a_copy_that_somebody_reads_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    path, target = tmp_path / "history.duckdb", tmp_path / "copy.duckdb"
    database = Database.open(path)
    parts = batches(100)
    for batch in itertools.islice(parts, 3):
        database.apply(batch)
        database.publish(target)
    # In a process of its own: the locks that tell of it are not for one's own process.
    with subprocess.Popen([sys.executable, "-c", READER, target], stdin=PIPE, stdout=PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "300\n"
        for batch in itertools.islice(parts, 3):
            database.apply(batch)
            database.publish(target)
            reader.stdin.write("again\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == "300\n"
        reader.stdin.close()
    copied = dump(target)
    database.close()
    assert copied == dump(path)
    assert made.times == 2


@pytest.mark.parametrize("hindrance", ["too much has changed", "the samples have gone back", "the spare is gone"])
def test_a_copy_that_cannot_be_brought_up_to_date_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hindrance: str
) -> None:
    made = Made(monkeypatch)
    path, target = tmp_path / "history.duckdb", tmp_path / "copy.duckdb"
    database = Database.open(path)
    database.add_samples([row(31)], Place(31, EPOCH))
    parts = batches(100)
    for batch in itertools.islice(parts, 2):
        database.apply(batch)
        database.publish(target)
    assert made.times == 1
    if hindrance.startswith("too"):
        monkeypatch.setattr(copies, "KEYS_MAX", 3)
    elif hindrance.startswith("the samples"):
        database.add_samples([row(1)], Place(1, EPOCH))
    else:
        beside(target, SPARE).unlink()
    database.apply(next(parts))
    database.publish(target)
    copied = dump(target), samples_of(target)
    database.close()
    assert made.times == 2
    assert copied == (dump(path), samples_of(path))


def test_where_there_is_no_room_for_a_second_copy_it_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(monkeypatch)
    path, target = tmp_path / "history.duckdb", tmp_path / "copy.duckdb"
    database = Database.open(path)
    database.apply(LOG[:100])

    def full(_: Path, begun: Path) -> None:
        begun.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", full)
        database.publish(target)
    assert not beside(target, SPARE).exists()
    database.apply(LOG[100:200])
    database.publish(target)
    copied = dump(target)
    database.close()
    assert copied == dump(path)
    assert made.times == 2


def test_where_there_is_no_room_the_copy_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database.open(tmp_path / "history.duckdb")
    target = tmp_path / "copy.duckdb"
    database.apply(LOG[:100])
    database.publish(target)
    before = dump(target)
    beside(target, SPARE).unlink()
    database.apply(LOG[100:200])

    with monkeypatch.context() as patched:

        def full(_: Path) -> None:
            raise OSError(28, "No space left on device")

        patched.setattr(copies, "remove", full)
        with pytest.raises(WriteFailed, match="No space left"):
            database.publish(target)
    assert dump(target) == before
    database.publish(target)
    copied = dump(target)
    database.close()
    assert copied == dump(tmp_path / "history.duckdb")


@pytest.mark.parametrize("keys_max", [copies.KEYS_MAX, 20])
def test_while_a_copy_is_made_the_file_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys_max: int) -> None:
    made = Made(monkeypatch)
    monkeypatch.setattr(copies, "PIECE", 90)
    monkeypatch.setattr(copies, "KEYS_MAX", keys_max)
    path, target = tmp_path / "history.duckdb", tmp_path / "copy.duckdb"
    database = Database.open(path)
    parts = batches(20)
    for batch in itertools.islice(parts, 18):
        database.apply(batch)
    database.add_samples([row(1), row(91)], Place(95, EPOCH))
    for number, batch in enumerate(parts, start=4):
        if database.publish_soon(target) is not None:
            break
        database.apply(batch)
        database.add_samples([row(1 + EVERY * number)], Place(1 + EVERY * number, EPOCH))
    else:
        database.publish(target)
    assert database.publish(target) == database.position
    copied = dump(target), samples_of(target)
    database.close()
    assert copied == (dump(path), samples_of(path))
    assert made.times == (2 if keys_max == 20 else 1)
