"""What docs/metrics.md says of `/metrics`, from the definitions.

`python -m coordinator.exposition.reference` writes it.
"""

import sys
from pathlib import Path

from coordinator.exposition.families import COUNTERS, GAUGES, HISTOGRAMS, PREFIX, Family

PATH = Path(__file__).parents[2] / "docs" / "metrics.md"
BEGIN = "<!-- families: made by `python -m coordinator.exposition.reference` -->\n"
END = "<!-- /families -->\n"


def names() -> dict[str, Family]:
    """Every metric by the name that the page has for it."""
    return {
        **{f"{PREFIX}{name}_total": family for name, family in COUNTERS.items()},
        **{f"{PREFIX}{name}_seconds": family for name, family in HISTOGRAMS.items()},
        **{f"{PREFIX}{name}": family for name, family in GAUGES.items()},
    }


def metrics_page(present: str) -> str:
    """docs/metrics.md as it stands, with the families as they are defined now."""
    before, opening, rest = present.partition(BEGIN)
    _, closing, after = rest.partition(END)
    assert opening
    assert closing
    rows = "".join(f"| {_name(name, family)} | {family.text}. |\n" for name, family in names().items())
    return f"{before}{opening}\n| metric | |\n|---|---|\n{rows}\n{closing}{after}"


def _name(name: str, family: Family) -> str:
    return f"`{name}`" + (f" by {' and '.join(f'`{label}`' for label in family.labels)}" if family.labels else "")


if __name__ == "__main__":
    PATH.write_text(metrics_page(PATH.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PATH} written", file=sys.stderr)
