"""docs/invariants.md lists the promises as they are."""

import re
from pathlib import Path

from replay.invariants import INVARIANTS

ROW = re.compile(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)


def test_every_promise_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs" / "invariants.md").read_text(encoding="utf-8")
    rows = ROW.findall(text)
    assert [(name, promise) for name, promise, _ in rows] == [(name, one.promise) for name, one in INVARIANTS.items()]
    assert all(meaning.endswith(".") for _, _, meaning in rows)
