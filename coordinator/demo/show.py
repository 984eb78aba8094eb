"""What a demo looks like: the steps as lines that stay, and on a terminal a picture of the farm below them."""

import asyncio
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from coordinator.demo.chronicle import Chronicle
from coordinator.demo.panel import panel
from coordinator.demo.plan import Plan
from events.base import SystemEvent, TaskEvent, WorkerEvent
from events.envelope import Recorded
from events.task import TaskRequeued

FRAME_S = 0.1
PROGRESS_EVERY_S = 5.0
NEWS_KEPT = 40
WIDTH_OF_NO_TERMINAL = 120


class Show:
    """On a terminal, or as plain lines anywhere else. `chronicle` comes when there is a log."""

    def __init__(self, console: Console, plan: Plan) -> None:
        self.console = console
        self.plan = plan
        self.chronicle: Chronicle | None = None
        self.total = 0
        """Tests of the whole suite."""
        self.title = ""
        self.leaderless_since: float | None = None
        self.news: list[Recorded] = []
        self._interrupted: set[str] = set()
        self.began = time.monotonic()
        self._live: Live | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._progress = ""
        self._rich_marks = console.encoding.lower().startswith("utf")
        if not self.pictured:
            console.width = WIDTH_OF_NO_TERMINAL

    @property
    def pictured(self) -> bool:
        return self.console.is_terminal and not self.console.is_dumb_terminal

    async def __aenter__(self) -> Self:
        if self.pictured:
            # Drawn from the loop, not from a thread of its own: what it draws changes in the loop.
            self._live = Live(
                console=self.console, get_renderable=lambda: panel(self), auto_refresh=False, transient=True
            )
            self._live.start()
        self._ticker = asyncio.create_task(self._tick(), name="show")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        if self._live is not None:
            self._live.stop()

    async def _tick(self) -> None:
        while True:
            if self._live is not None:
                self._live.refresh()
                await asyncio.sleep(FRAME_S)
            else:
                await asyncio.sleep(PROGRESS_EVERY_S)
                self._say_progress()

    def _say_progress(self) -> None:
        chronicle = self.chronicle
        if chronicle is None or not chronicle.submitted:
            return
        progress = f"{chronicle.final} of {chronicle.submitted} tests have their verdict"
        if progress != self._progress and chronicle.final < chronicle.submitted:
            self._progress = progress
            self._line("-", "dim", progress)

    def event(self, recorded: Recorded) -> None:
        """Keeps what belongs to a recovery: all about workers and the system, and the tests that were interrupted."""
        event = recorded.event
        if isinstance(event, TaskRequeued) and event.budget == "infrastructure":
            self._interrupted.add(event.task_id)
        interrupted = isinstance(event, TaskEvent) and event.task_id in self._interrupted
        if interrupted or isinstance(event, WorkerEvent | SystemEvent):
            self.news.append(recorded)
            del self.news[:-NEWS_KEPT]

    def step(self, number: int, count: int, title: str, why: str) -> None:
        self.title = f"step {number} of {count}"
        self.console.print()
        self.console.print(Text(f"{number}/{count}  {title}", "bold"), soft_wrap=not self.pictured)
        self._line("", "dim", why)

    def tell(self, text: str) -> None:
        self._line("»" if self._rich_marks else ">", "yellow", text)

    def passed(self, text: str) -> None:
        self._line("✓" if self._rich_marks else "+", "green", text)

    def _line(self, mark: str, style: str, text: str) -> None:
        if not self.pictured:
            self.console.print(f"  {mark or ' '}  {text}", soft_wrap=True, markup=False, highlight=False)
            return
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=4, justify="right")
        grid.add_column(overflow="fold")
        grid.add_row(Text(mark, style), Text(text, "dim" if not mark else ""))
        self.console.print(grid)
