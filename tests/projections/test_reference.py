"""docs/schema.md is what the definitions say, and the definitions are what DuckDB has."""

from pathlib import Path

import msgspec
import pytest

from projections.columns import columns_of
from projections.database import Database
from projections.reference import METRICS_PATH, PATH, metrics_page, reference
from projections.views import VIEWS
from tests.projections.histories import select


def test_the_reference_is_fresh() -> None:
    assert PATH.read_text(encoding="utf-8") == reference(), "run 'python -m projections.reference'"
    page = METRICS_PATH.read_text(encoding="utf-8")
    assert page == metrics_page(page), "run 'python -m projections.reference'"


def test_every_column_of_every_view_is_described(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    Database.open(path).close()
    for name, view in VIEWS.items():
        assert [column for (column,) in select(path, f"SELECT column_name FROM (DESCRIBE {name})")] == list(
            view.columns
        )
        assert all(view.columns.values())


def test_a_field_without_a_column_is_a_mistake() -> None:
    class Row(msgspec.Struct):
        name: str

    with pytest.raises(TypeError, match=r"Row\.name has no Column"):
        columns_of(Row)
