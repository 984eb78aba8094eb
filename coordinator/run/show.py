"""What a run looks like while it runs: a live picture on a terminal, plain lines anywhere else."""

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, Self

from coordinator.run.tally import GOOD_WORDS, Tally, Test

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType

REFRESH_PER_S = 8
PLAIN_EVERY = 0.1
"""Without a terminal, a line of progress for each such part of the tests."""
NEWS_SHOWN = 5


class Show(Protocol):
    def update(self, tally: Tally, verdict: Test | None) -> None: ...


class PlainShow:
    """For pipes and CI logs: failures and news as they come, progress now and then."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._news = 0
        self._shown = 0.0

    def update(self, tally: Tally, verdict: Test | None) -> None:
        for news in tally.news[self._news :]:
            print(news, flush=True)
        self._news = len(tally.news)
        if verdict is None:
            return
        if self._verbose or verdict.word not in GOOD_WORDS:
            print(f"{verdict.node_id} {verdict.word.upper()}", flush=True)
        share = tally.finished / len(tally.tests)
        if share - self._shown >= PLAIN_EVERY or tally.complete:
            self._shown = share
            print(f"[{share:4.0%}] {tally.finished} of {len(tally.tests)} tests", flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        return None


class LiveShow:
    """For terminals: a bar, a lane for each worker, the latest news; drawn a few times a second, whatever comes."""

    def __init__(self, console: "Console", *, verbose: bool) -> None:
        from rich.live import Live

        self._console = console
        self._verbose = verbose
        self._tally: Tally | None = None
        self._live = Live(
            console=console, get_renderable=self._picture, refresh_per_second=REFRESH_PER_S, transient=True
        )

    def update(self, tally: Tally, verdict: Test | None) -> None:
        self._tally = tally
        if verdict is not None and (self._verbose or verdict.word not in GOOD_WORDS):
            from rich.text import Text

            style = "green" if verdict.word in GOOD_WORDS else "red"
            self._live.console.print(Text(f"{verdict.node_id} {verdict.word.upper()}", style=style))

    def _picture(self) -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self._tally
        if tally is None:
            return Text("collecting ...", style="dim")
        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column(ratio=1)
        head.add_column(justify="right", no_wrap=True)
        problems = f"  [red]{tally.problems} bad[/red]" if tally.problems else ""
        head.add_row(
            ProgressBar(total=max(1, len(tally.tests)), completed=tally.finished),
            Text.from_markup(f"{tally.finished} of {len(tally.tests)}{problems}"),
        )
        lanes = Table.grid(expand=True, padding=(0, 1))
        for ratio in (None, None, None):
            lanes.add_column(no_wrap=True, ratio=ratio)
        lanes.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        now = time.time()
        for worker_id, lane in tally.lanes.items():
            lanes.add_row(
                worker_id,
                Text(lane.status, style=STYLES.get(lane.status, "yellow")),
                f"{lane.done:>5}",
                _running(tally, worker_id, now),
            )
        news = [Text(line, style="yellow", overflow="ellipsis", no_wrap=True) for line in tally.news[-NEWS_SHOWN:]]
        return Group(head, lanes, *news)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self._live.__exit__(kind, error, trace)


STYLES = {"alive": "green", "failed": "red", "given up": "red", "starting": "dim", "stopped": "dim"}


def _running(tally: Tally, worker_id: str, now: float) -> str:
    parts = []
    for task_id, since in tally.lanes[worker_id].running.items():
        age = max(0.0, now - since)
        parts.append(tally.tests[task_id].node_id + (f" ({age:.0f} s)" if age >= 1 else ""))
    return "  ".join(parts)


def show_for(console: "Console | None", *, verbose: bool) -> "AbstractContextManager[Show]":
    return LiveShow(console, verbose=verbose) if console is not None else PlainShow(verbose=verbose)
