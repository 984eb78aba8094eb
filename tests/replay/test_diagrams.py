"""The pictures of the lifecycles are those of the tables."""

from pathlib import Path
from typing import Any

import pytest

from events.worker import WorkerRegistered
from recovery import lifecycle
from replay import diagrams

PAGE = Path(__file__).parents[2] / "docs" / "lifecycles.md"


def test_the_pictures_are_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == diagrams.page(), "python -m replay.diagrams > docs/lifecycles.md"


@pytest.mark.parametrize("name", ["WORKER", "TASK", "ATTEMPT", "INCIDENT"])
def test_every_row_of_every_table_is_in_the_picture(name: str) -> None:
    table = getattr(lifecycle, name)
    page = diagrams.page()
    for before, kind in table:
        assert kind.__struct_config__.tag.partition(".")[2].replace("_", " ") in page.replace("_", " ")
        assert (before or "[*]") in page


def test_a_changed_table_makes_another_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    before = diagrams.page()
    table: dict[Any, Any] = lifecycle.WORKER
    monkeypatch.setitem(table, ("failed", WorkerRegistered), "permanent")
    assert diagrams.page() != before
