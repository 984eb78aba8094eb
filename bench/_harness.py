"""What the measurements share: a broker, a bare consumer as the limit, medians, and a line about the machine.

The scripts beside this one run as they are: `.venv/bin/python bench/NAME.py`. They print what they have found and
assert nothing: a figure means little without the limit that was measured beside it, and without how busy the machine
was.
"""

import asyncio
import contextlib
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import structlog

ROOT = Path(__file__).parents[1]
# The farms and stories of the tests are the best there are, and tests are not installed.
sys.path.append(str(ROOT))

from events import codec  # noqa: E402
from events.bus import Bus  # noqa: E402 - behind the path
from events.connection import Client, Msg  # noqa: E402


def machine() -> str:
    """How much there is of it, and how much of that others take."""
    loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{len(os.sched_getaffinity(0))} processors, load {loads}"


@contextlib.contextmanager
def measuring(what: str) -> Iterator[None]:
    """Prints the machine's state before and after, and keeps the services' own words out of it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    began = time.perf_counter()
    print(f"{what}\n{time.strftime('%Y-%m-%d %H:%M:%S')}, {machine()}", flush=True)
    try:
        yield
    finally:
        print(f"{time.perf_counter() - began:.0f} s in all, {machine()}", flush=True)


def show(name: str, values: Sequence[float], unit: str = "s", digits: int = 3, *, note: str = "") -> None:
    """One figure: its median, its spread and how often it was taken."""
    if not values:
        print(f"{name:<44} not measured")
        return
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    several = f"  (min {low}, max {high}, n {len(values)})" if len(values) > 1 else "  (n 1)"
    print(f"{name:<44} {middle:>10} {unit}{several}{'  ' if note else ''}{note}", flush=True)


def ratio(figure: Sequence[float], limit: Sequence[float]) -> float:
    return statistics.median(figure) / statistics.median(limit)


class Usage(NamedTuple):
    """Processor time of one kind of process so far, in seconds, and its largest memory, in MB."""

    cpu_s: float
    memory_mb: float

    @classmethod
    def own(cls) -> "Usage":
        return cls._of(resource.RUSAGE_SELF)

    @classmethod
    def of_children(cls) -> "Usage":
        """Of those that have ended, with all that they had waited for."""
        return cls._of(resource.RUSAGE_CHILDREN)

    @classmethod
    def _of(cls, who: int) -> "Usage":
        usage = resource.getrusage(who)
        return cls(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


class Taken(NamedTuple):
    """How long something took: by the wall, and of the processor, which others' load hardly changes."""

    wall_s: float
    cpu_s: float


def rates(taken: Sequence[Taken], things: int) -> list[float]:
    """Things a second, by the wall."""
    return [things / one.wall_s for one in taken]


def each_us(taken: Sequence[Taken], things: int) -> list[float]:
    """Microseconds of the processor a thing."""
    return [one.cpu_s / things * 1e6 for one in taken]


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="resurgam-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def broker(path: Path) -> Iterator[str]:
    """A nats-server of its own, with the default rhythm of syncing; its URL."""
    server = Path(sys.executable).parent / "nats-server"
    process = subprocess.Popen(
        [server, "-js", "-sd", path / "store", "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", path],
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (found := list(path.glob("*.ports"))) or not found[0].read_text().strip():
            time.sleep(0.01)
        yield json.loads(found[0].read_text())["nats"][0]
    finally:
        process.terminate()
        process.wait()


async def drain_bare(bus: Bus, *streams: str, decode: bool = False) -> Taken:
    """What nats-py's own ordered push consumers take for all of these streams, one beside the other, with a
    callback that only counts, or that decodes events as our reader does. On a connection of nats-py's own, without what
    `events.bus` does to it."""
    plain = Client()
    await plain.connect(bus.url)
    jetstream = plain.jetstream()
    wanted = sum([(await jetstream.stream_info(stream)).state.messages for stream in streams])
    finished = asyncio.Event()
    received = 0

    async def count(message: Msg) -> None:
        nonlocal received
        received += 1
        if decode:
            fields = message.reply.rsplit(".", 4)
            codec.decode(int(fields[-4]), int(fields[-2]) / 1e9, message.subject, message.data, message.headers)
        if received == wanted:
            finished.set()

    before, began = Usage.own(), time.perf_counter()
    subscriptions = [
        await jetstream.subscribe("", stream=stream, ordered_consumer=True, cb=count) for stream in streams
    ]
    await finished.wait()
    taken = Taken(time.perf_counter() - began, Usage.own().cpu_s - before.cpu_s)
    for subscription in subscriptions:
        await subscription.unsubscribe()
    await plain.close()
    return taken


def run(work: Coroutine[Any, Any, None]) -> None:
    """On the loop that our services use."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
