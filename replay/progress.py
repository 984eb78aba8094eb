"""A progress bar for what takes long, on stderr, where somebody is looking."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from replay.reading import Progress

LONG = 20_000
"""Events that are read before anybody has begun to wonder."""


@contextmanager
def shown(what: str, first: int, last: int) -> Iterator[Progress | None]:
    """Shows how far from `first` to `last` the reading has come; None when the way is short or nobody looks."""
    if last - first < LONG or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=last - first + 1)
        yield lambda sequence: bar.update(task, completed=sequence - first + 1)
