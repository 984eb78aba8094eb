"""What a view is, and a macro that is asked like one and takes a window."""

from typing import NamedTuple


class View(NamedTuple):
    text: str
    columns: dict[str, str]
    """What each means, in their order."""
    sql: str


class Macro(NamedTuple):
    """A table macro: `FROM name(parameter := value)`. What it reads is looked for where it is asked: in an attached
    file, say `USE` first."""

    text: str
    parameters: dict[str, str]
    columns: dict[str, str]
    sql: str
    signature: tuple[str, ...]
    """The parameters with their defaults."""
