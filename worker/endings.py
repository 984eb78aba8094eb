"""How a worker ends, in a word and in a sentence."""

from typing import NamedTuple


class Ending(NamedTuple):
    """How a worker ended: its exit code, and what there is to say about it."""

    code: int
    sentence: str = ""


def told(code: int) -> str:
    """Of an exit code, or of the number of a signal as a negative one."""
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
