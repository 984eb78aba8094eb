"""What a projector says when it cannot write: by whose matter it is."""

import errno
from pathlib import Path
from typing import Any

import duckdb
import pytest

from events.failures import ErrorCode
from projections.database import _understood
from projections.errors import WriteFailed
from projections.faults import fault


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "system_resource"),
        (OSError(errno.EMFILE, "Too many open files"), "system_resource"),
        (OSError(errno.EIO, "Input/output error"), "database"),
        (duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate"), "system_resource"),
        (duckdb.IOException("IO Error: Could not write"), "database"),
    ],
)
def test_a_write_fails_of_something(tmp_path: Path, raised: Exception, error: ErrorCode) -> None:
    with pytest.raises(WriteFailed) as failed, _understood():
        raise raised
    assert failed.value.error == error
    said = fault(tmp_path / "history.duckdb", failed.value.error, str(failed.value))
    assert (said.component, said.error, said.reported_by) == ("projector", error, "projections of history.duckdb")


def test_without_room_on_its_disk_that_is_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB says it in words alone, and words are not searched."""

    class Usage:
        free = 4096

    def usage(_: Any) -> type[Usage]:
        return Usage

    monkeypatch.setattr("shutil.disk_usage", usage)
    assert fault(tmp_path / "history.duckdb", "database", "d").error == "system_resource"
    monkeypatch.undo()
    assert fault(tmp_path / "nowhere" / "history.duckdb", "database", "d").error == "database"
