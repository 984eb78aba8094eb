"""What a view is."""

from typing import NamedTuple


class View(NamedTuple):
    text: str
    columns: dict[str, str]
    """What each means, in their order."""
    sql: str
