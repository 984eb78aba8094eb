"""A warm pytest: collects a suite once, then runs the tests it is told to, one after the other.

This file runs under the interpreter of the suite, not ours: Python 3.8 and later, pytest 6 and later, and it
imports nothing but the standard library and pytest. Started in the directory where one would have called pytest:
``pytest_runner.py --in FD --out FD [--list] [--marks FD:BEGIN:COUNT:LENGTH] -- PYTEST-ARGUMENTS``.

Before a test begins, its key is written to the next of the *marks*, a ring in a file of memory that outlives this
process and whoever started it: a test may kill both before anybody has read that it began.

Orders come on the *in* fd, a socket of type SOCK_SEQPACKET: a packet is one JSON object ``{"key", "node_id",
"occurrence"}``. A packet that has not been received is still the sender's to take back from the same socket: the
kernel gives every packet to one of the two, so what was withdrawn has not started and never will. The runner looks
ahead without receiving (MSG_PEEK): a queued packet tells which fixtures to keep; an empty queue means to tear all
of them down at once. End of file ends the session.

Reports go to the *out* fd, one JSON object a line; ``op`` says which:

- ``collected``: ``items``, each [node id, occurrence, file, line]; only with ``--list``, in several lines
- ``ready``: ``count``, ``errors`` (text, of the collection), ``exit_code`` (plain pytest's, after that collection),
  ``pytest``, ``python``, ``rootdir``, ``captures`` (without, what tests write is on this process's own output)
- ``started``: ``key``, ``at`` (unix time)
- ``finished``: ``key``, ``outcome``, ``duration_s``, ``phases``, ``message``, ``output``, ``reason``, ``error``
- ``unknown``: ``key``: there is no such test here
- ``ending``: ``reason``: the session ends although more may have been queued (pytest.exit, KeyboardInterrupt)

pytest can collect two tests of one id: the occurrence tells them apart. The end of one test and the start of the
next leave in one write.
"""

# Paths are text here, as pytest of every version takes them; removeprefix is younger than Python 3.8.
# ruff: noqa: PTH100, PTH103, PTH109, PTH118, PTH120, FURB188
from __future__ import annotations

import contextlib
import fcntl
import gc
import io
import json
import os
import platform
import select
import socket
import sys
import time
import traceback
import uuid
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

if __name__ == "__main__" and sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    del sys.path[0]  # as for the pytest command: our folder is no place for the suite to import from

try:
    import pytest
except ModuleNotFoundError as error:
    if error.name != "pytest":
        raise
    sys.stderr.write(
        f"ERROR: {sys.executable} has no pytest: install it there, or name the suite's interpreter with --python\n"
    )
    sys.exit(4)

TEXT_BYTES_MAX = 64 * 1024
ITEMS_PER_LINE = 500
PACKET_BYTES_MAX = 1 << 20
PROTOCOL_FD_MIN = 400  # out of the way of tests that count on low numbers

# Options of pytest and of plugins that make no sense here: many processes would write one file, stop at their own
# count of failures or start workers of their own. Whoever feeds this process does all of that.
NEUTRAL_OPTIONS: dict[str, Any] = {
    "maxfail": 0,
    "collectonly": False,
    "usepdb": False,
    "trace": False,
    "cacheshow": None,
    "cacheclear": False,
    "stepwise": False,
    "stepwise_skip": False,
    "stepwise_reset": False,
    "xmlpath": None,
    "pastebin": None,
    "htmlpath": None,
    "report_log": None,
    "json_report": False,
    "dist": "no",
    "distload": False,
    "looponfail": False,
    "numprocesses": None,
    "maxprocesses": None,
    "tx": [],
}


def bounded(text: str, limit: int = TEXT_BYTES_MAX) -> str:
    """Text that can be written as UTF-8, with its middle cut out where it is too long."""
    if len(text) > 2 * limit:  # do not encode what is dropped
        cut = len(text) - 2 * limit
        text = f"{text[:limit]}\n[... {cut} characters left out ...]\n{text[-limit:]}"
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > limit:
        half = limit // 2
        marker = f"\n[... {len(data) - 2 * half} bytes left out ...]\n"
        data = data[:half] + marker.encode() + data[-half:]
    return data.decode("utf-8", "replace")


def printable(node_id: str) -> str:
    """A node id without lone surrogates, as file names that are not UTF-8 have: others must be able to encode it."""
    return node_id.encode("utf-8", "backslashreplace").decode("utf-8")


def out_of_the_way(fd: int) -> int:
    """The fd moved to a high number, and kept from programs that tests start."""
    for minimum in (PROTOCOL_FD_MIN, 64, 3):
        with contextlib.suppress(OSError):
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, minimum)
            os.close(fd)
            return moved
    os.set_inheritable(fd, False)
    return fd


class Nowhere(io.TextIOBase):
    """Where the terminal report goes: everything in it is reported one by one."""

    def write(self, text: str) -> int:
        return len(text)


class Channel:
    """Orders in, reports out; silent in copies of this process that a test has forked."""

    def __init__(self, in_fd: int, out_fd: int) -> None:
        self.pid = os.getpid()
        self.orders = socket.socket(fileno=out_of_the_way(in_fd))
        self.reports_fd = out_of_the_way(out_fd)
        self.waiting: list[bytes] = []

    def is_copy(self) -> bool:
        return os.getpid() != self.pid

    def report(self, op: str, **fields: Any) -> None:
        self.waiting.append(json.dumps({"op": op, **fields}).encode("ascii"))

    def flush(self) -> None:
        data = b"".join(line + b"\n" for line in self.waiting)
        self.waiting = []
        while data and not self.is_copy():
            try:
                data = data[os.write(self.reports_fd, data) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self.reports_fd, select.POLLOUT)
                poll.poll()

    def receive(self, flags: int = 0) -> dict[str, Any] | None:
        """The next order; None at the end of file, or when there is none and the flags say not to wait."""
        try:
            packet = self.orders.recv(PACKET_BYTES_MAX, flags)
        except BlockingIOError:
            return None
        if not packet:
            return None
        order: dict[str, Any] = json.loads(packet.decode("ascii"))
        return order


class Marks:
    """Where the keys of what begins are written."""

    def __init__(self, place: str) -> None:
        fd, self.begin, self.count, self.length = (int(number) for number in place.split(":"))
        self.fd = out_of_the_way(fd)
        self.next = 0

    def set(self, key: str) -> None:
        mark = f"{key} {time.monotonic_ns()}".encode()[: self.length].ljust(self.length, b"\0")
        with contextlib.suppress(OSError):  # a test has closed it
            os.pwrite(self.fd, mark, self.begin + self.next * self.length)
        self.next = (self.next + 1) % self.count


class Verdict:
    """What the reports of one test come to, by the categories of pytest's own summary."""

    # Which category decides when reports differ. A failed call and an error in its teardown are one failed test.
    RANK = ("failed", "error", "xpassed", "xfailed", "skipped", "passed")

    def __init__(self) -> None:
        self.categories: list[str] = []
        self.phases: dict[str, dict[str, Any]] = {}
        self.texts: list[str] = []
        self.sections: list[tuple[str, str]] = []
        self.reason = ""
        self.error = ""  # what kind the first exception was, where it says more than that the test failed

    def note(self, raised: BaseException) -> None:
        if not self.error:
            kinds = (("security", PermissionError), ("task_resource", MemoryError))
            self.error = next((error for error, kind in kinds if isinstance(raised, kind)), "")

    def add(self, report: Any, category: str) -> None:
        is_subtest = hasattr(report, "context")
        if category not in self.RANK and category:  # a plugin's own word
            category = report.outcome if report.outcome in self.RANK else ""
        if is_subtest and category != "failed":
            return  # the test's own report says what it came to
        if category:
            self.categories.append(category)
        if is_subtest:
            self.sections += report.sections
        else:
            self.phases[report.when] = {
                "outcome": category or report.outcome,
                "duration_s": report.duration,
                "sections": report.sections,
            }
        if report.failed:
            self.texts.append(f"{report.head_line}\n{report.longreprtext}" if is_subtest else report.longreprtext)
        elif (report.skipped or hasattr(report, "wasxfail")) and not self.reason:
            self.reason = reason_of(report)

    def outcome(self) -> str:
        for category in self.RANK:
            if category in self.categories:
                if category == "skipped" and self.phases.get("call", {}).get("outcome") == "passed":
                    return "passed"  # it was its teardown that skipped
                return category
        return "error"

    def fields(self) -> dict[str, Any]:
        sections = list(self.sections)
        phases = {}
        for when, phase in self.phases.items():
            phases[when] = {"outcome": phase["outcome"], "duration_s": phase["duration_s"]}
            for section in phase["sections"]:
                if section not in sections:  # each phase repeats what the earlier ones captured
                    sections.append(section)
        outcome = self.outcome()
        texts = self.texts or ([] if self.categories else ["pytest reported nothing about this test"])
        return {
            "outcome": outcome,
            "phases": phases,
            "message": bounded("\n".join(texts)),
            "output": bounded("\n".join(f"--- {title} ---\n{text}" for title, text in sections)),
            "reason": bounded(self.reason),
            "error": self.error,
        }


def reason_of(report: Any) -> str:
    if hasattr(report, "wasxfail"):
        text, prefix = str(report.wasxfail), "reason: "
    elif isinstance(report.longrepr, tuple):
        text, prefix = str(report.longrepr[2]), "Skipped: "
    else:
        text, prefix = report.longreprtext, ""
    return text[len(prefix) :] if text.startswith(prefix) else text


class Runner:
    """The plugin that stands in for pytest's own loop and changes nothing else of its session."""

    def __init__(self, channel: Channel, marks: Marks | None, *, listing: bool) -> None:
        self.channel = channel
        self.marks = marks
        self.listing = listing
        self.items: dict[str, list[Any]] = {}
        self.errors: list[str] = []
        self.verdict = Verdict()
        self.running = False
        self.item: Any = None
        self.given: Any = None  # the next item that pytest was told of when the running one began
        self.kept_for: Any = None  # the item that fixtures are still set up for
        self.has_run: set[int] = set()

    # The session

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)  # a wrapper, to be ahead of xdist's own
    def pytest_cmdline_main(self, config: Any) -> Iterator[None]:
        option = config.option
        for name, value in NEUTRAL_OPTIONS.items():
            if hasattr(option, name):
                setattr(option, name, value)
        base = getattr(option, "basetemp", None)
        if base:  # emptied by pytest at its start, and there are several of us
            os.makedirs(str(base), exist_ok=True)
            option.basetemp = os.path.join(str(base), "popen-" + worker_input()["workerid"])
        yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionstart(self, session: Any) -> Iterator[None]:
        # What xdist gives its workers: by it suites and plugins tell databases and report files apart, and pytest
        # leaves its cache alone. Not before now: plugins look for further keys of their own when they configure.
        session.config.workerinput = worker_input()
        session.config.workeroutput = {}
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        writer = getattr(reporter, "_tw", None)
        if writer is not None and hasattr(writer, "_file"):
            writer._file = Nowhere()
        yield
        make_teardown_lazy(session, self)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.errors.append(f"{report.nodeid or 'collection'}:\n{report.longreprtext}")

    def pytest_internalerror(self, excrepr: Any) -> None:
        self.end(f"pytest had an internal error:\n{excrepr}")

    def pytest_keyboard_interrupt(self, excinfo: Any) -> None:
        self.end(f"{excinfo.typename}: {excinfo.value}")

    def end(self, reason: str) -> None:
        self.channel.report("ending", reason=bounded(reason))
        self.channel.flush()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> bool:
        self.index(session)
        self.channel.flush()
        order = self.channel.receive()
        while order is not None:
            self.run(session, order)
            if session.shouldfail or session.shouldstop:
                self.end(str(session.shouldfail or session.shouldstop))
                return True
            order = self.channel.receive(socket.MSG_DONTWAIT)
            if order is None:
                self.channel.flush()
                if self.kept_for is not None:
                    self.kept_for = None
                    drop_fixtures(session, None)
                order = self.channel.receive()
        return True

    def index(self, session: Any) -> None:
        rows = []
        for item in session.items:
            node_id = printable(item.nodeid)
            same = self.items.setdefault(node_id, [])
            rows.append([node_id, len(same), printable(str(item.location[0])), (item.location[1] or 0) + 1])
            same.append(item)
        if self.listing:
            for start in range(0, len(rows), ITEMS_PER_LINE):
                self.channel.report("collected", items=rows[start : start + ITEMS_PER_LINE])
        go_on = session.config.option.continue_on_collection_errors
        self.channel.report(
            "ready",
            count=len(rows),
            errors=bounded("\n".join(self.errors)),
            exit_code=(1 if go_on else 2) if self.errors else (0 if rows else 5),
            pytest=pytest.__version__,
            python=platform.python_version(),
            captures=getattr(session.config.option, "capture", "no") != "no",
            rootdir=printable(str(getattr(session.config, "rootpath", None) or session.config.rootdir)),
        )

    # One test

    def find(self, order: dict[str, Any]) -> Any:
        same = self.items.get(order["node_id"], [])
        return same[order["occurrence"]] if order["occurrence"] < len(same) else None

    def look_ahead(self, item: Any) -> Any:
        """The item that fixtures are worth keeping for: the one queued next, if there is one."""
        order = self.channel.receive(socket.MSG_DONTWAIT | socket.MSG_PEEK)
        following = self.find(order) if order is not None else None
        return None if following is item else following  # again: but with fixtures of its own

    def run(self, session: Any, order: dict[str, Any]) -> None:
        item = self.find(order)
        if item is None:
            self.channel.report("unknown", key=order["key"])
            return
        if self.kept_for is not None and self.kept_for is not item:
            drop_fixtures(session, item)
        if id(item) in self.has_run:
            item._report_sections[:] = []
        self.has_run.add(id(item))
        if self.marks is not None:
            self.marks.set(order["key"])
        self.channel.report("started", key=order["key"], at=time.time())
        self.channel.flush()
        self.verdict = Verdict()
        self.item = item
        self.given = self.kept_for = self.look_ahead(item)
        self.running = True
        started = time.perf_counter()
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=self.given)
        except BaseException as error:  # KeyboardInterrupt, pytest.exit, a plugin that failed
            if not self.channel.is_copy():
                self.verdict.categories = ["error"]
                self.verdict.texts.append(f"{type(error).__name__} ended the session.\n{failure_text(item)}")
                self.finish(order, started)
                self.channel.flush()
            raise
        finally:
            self.running = False
            if self.channel.is_copy():  # the child of a fork that came back from the test
                os._exit(1)
        self.finish(order, started)

    def finish(self, order: dict[str, Any], started: float) -> None:
        duration_s = time.perf_counter() - started
        # Under -s the test's output is on its way to our parent, and has to be there before the report.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        self.channel.report("finished", key=order["key"], duration_s=duration_s, **self.verdict.fields())

    @pytest.hookimpl(tryfirst=True, hookwrapper=True)
    def pytest_runtest_makereport(self, call: Any) -> Iterator[None]:
        if call.excinfo is not None and self.running:
            self.verdict.note(call.excinfo.value)
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.outcome == "rerun":  # a plugin tries again; what comes next counts
            self.verdict = Verdict()
            return
        status = self.hook.pytest_report_teststatus(report=report, config=self.config)
        self.verdict.add(report, status[0])

    def pytest_configure(self, config: Any) -> None:
        self.config = config
        self.hook = config.hook


def failure_text(item: Any) -> str:
    """The exception at hand, as pytest would show it for this test."""
    raised: Any = sys.exc_info()
    try:
        return str(item.repr_failure(pytest.ExceptionInfo.from_exc_info(raised)))
    except Exception:  # noqa: BLE001 - an old pytest, a plugin's item: the plain one will do
        return traceback.format_exc()


def make_teardown_lazy(session: Any, runner: Runner) -> None:
    """Ask for the next item when fixtures are torn down, not when the test begins: more may be queued by then."""
    state = getattr(session, "_setupstate", None)
    original = getattr(state, "teardown_exact", None)
    if state is None or original is None:
        return

    def teardown_exact(*arguments: Any) -> Any:
        # The last argument is the next item (pytest 6 puts the item itself before it). A plugin that passes another
        # one than we gave it has its reasons.
        if runner.running and arguments[-1] is runner.given and not (session.shouldfail or session.shouldstop):
            runner.kept_for = runner.look_ahead(runner.item)
            arguments = (*arguments[:-1], runner.kept_for)
        return original(*arguments)

    state.teardown_exact = teardown_exact


def drop_fixtures(session: Any, item: Any) -> None:
    """Tear down what was kept for a test that was withdrawn, as far as the next one does not need it."""
    state = session._setupstate
    try:
        if not hasattr(state, "_teardown_towards"):
            state.teardown_exact(item)
        elif item is None:  # before pytest 7 the next set-up does the rest
            state.teardown_all()
    except Exception:  # noqa: BLE001 - the test it belonged to has been reported
        traceback.print_exc()


def worker_input() -> dict[str, Any]:
    run_id = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    return {
        "workerid": os.environ.get("PYTEST_XDIST_WORKER", "gw0"),
        "workercount": int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
        "testrunuid": run_id,
        "mainargv": sys.argv,
        "randomly_seed": zlib.crc32(run_id.encode()),
        # pytest-cov: every process writes a data file of its own, to be combined
        "cov_master_host": socket.gethostname(),
        "cov_master_topdir": os.getcwd(),
        "cov_master_rsync_roots": [],
    }


def main(arguments: list[str]) -> int:
    split = arguments.index("--")
    own, theirs = arguments[:split], arguments[split + 1 :]
    channel = Channel(int(own[own.index("--in") + 1]), int(own[own.index("--out") + 1]))
    marks = Marks(own[own.index("--marks") + 1]) if "--marks" in own else None
    sys.argv = [os.path.join(os.path.dirname(sys.executable), "pytest"), *theirs]
    return int(pytest.main(theirs, plugins=[Runner(channel, marks, listing="--list" in own)]))


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    # What nobody holds any more is ended in order here. Without the rest of it being set aside, the interpreter would
    # look through all of pytest and the suite twice more on its way out, which takes longer than many a test.
    gc.collect()
    gc.freeze()
    sys.exit(exit_code)
