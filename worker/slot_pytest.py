"""The warm pytest process of a slot: hands tests over, takes them back, and reads what it reports."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from events.failures import ErrorCode
from worker.jobs import CollectedItem, Collection, Outcome, PytestJob, Suite
from worker.kept_process import READ_BYTES, READS_PER_TURN_MAX, Ended, KeptProcess, Limits
from worker.marks import Row

RUNNER = str(Path(__file__).with_name("pytest_runner.py"))
PACKET_BYTES_MAX = 1 << 20
FINISH_S_MAX = 10.0  # for a session to end in order: plugins write their files then
USAGE_ERROR = 4  # pytest's own code
LINE_BYTES_MAX = 16 << 20  # a runner that writes more than this without a line's end is not ours any more


class Report(msgspec.Struct, tag_field="op", frozen=True):
    """A line of the runner: see its module for what they mean."""


class Collected(Report, tag="collected", frozen=True):
    items: tuple[tuple[str, int, str, int], ...]


class Ready(Report, tag="ready", frozen=True):
    count: int
    errors: str
    exit_code: int
    pytest: str
    python: str
    rootdir: str
    captures: bool  # else what tests write goes to the process's own output


class Started(Report, tag="started", frozen=True):
    key: str
    at: float


class Finished(Report, tag="finished", frozen=True):
    key: str
    outcome: Outcome
    duration_s: float
    message: str
    output: str
    reason: str
    error: ErrorCode | Literal[""] = ""


class Unknown(Report, tag="unknown", frozen=True):
    key: str


class Ending(Report, tag="ending", frozen=True):
    reason: str


AnyReport = Collected | Ready | Started | Finished | Unknown | Ending
decoder = msgspec.json.Decoder(AnyReport)


class WarmPytest:
    """One pytest process for one suite. ``on_reports`` gets what came in at one moment as one list.

    ``on_end`` follows after the last report, when the process and all it started are gone.
    """

    def __init__(
        self,
        suite: Suite,
        *,
        env: Mapping[str, str],
        limits: Limits,
        listing: bool = False,
        hold_fds: Sequence[int] = (),
        marks: Row | None = None,
        on_reports: Callable[[list[AnyReport]], None],
        on_end: Callable[[Ended], None],
    ) -> None:
        self.suite = suite
        self.ready: Ready | None = None
        self.leaving = ""  # why the process has said it is about to end
        self.finishing = False
        self.settled = asyncio.Event()  # ready, or ended
        self._collected: list[CollectedItem] = []
        self._ended: Ended | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._on_reports = on_reports
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._line = b""
        self._orders, self._orders_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._reports, reports_write = os.pipe()
        argv = [suite.python, RUNNER, "--in", str(self._orders_theirs.fileno()), "--out", str(reports_write)]
        argv += ["--list"] if listing else []
        argv += [] if marks is None else ["--marks", marks.place]
        try:
            self.process = KeptProcess(
                [*argv, "--", *suite.args],
                cwd=suite.cwd,
                env=env,
                limits=limits,
                pass_fds=(self._orders_theirs.fileno(), reports_write, *([] if marks is None else [marks.fd])),
                hold_fds=hold_fds,
                on_end=self._end,
            )
        except (OSError, ValueError):
            self._close()
            raise
        finally:
            os.close(reports_write)
        self._orders.setblocking(False)
        os.set_blocking(self._reports, False)
        self._loop.add_reader(self._reports, self._read_reports)

    def hand(self, job: PytestJob) -> bool:
        """Queue a test with the process; False if it has no room for more at present."""
        order = {"key": job.key, "node_id": job.node_id, "occurrence": job.occurrence}
        try:
            self._orders.send(json.dumps(order).encode())
        except BlockingIOError:
            return False
        return True

    def take_back(self, key: str) -> bool:
        """True if the test was still queued; the process will never see it.

        Reads from the process's end of the socket: the kernel gives each packet to one reader only, so there is
        no moment at which both have it.
        """
        packets = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packets.append(self._orders_theirs.recv(PACKET_BYTES_MAX, socket.MSG_DONTWAIT))
        found = False
        for packet in packets:
            if json.loads(packet)["key"] == key:
                found = True
            else:
                self._orders.send(packet)
        return found

    def finish(self) -> None:
        """Let the session end in order, if it can within FINISH_S_MAX."""
        if not self.finishing and not self.process.ended.is_set():
            self.finishing = True
            self._orders.shutdown(socket.SHUT_WR)
            self._end_within(FINISH_S_MAX if self.ready else 0)

    def _end_within(self, seconds: float) -> None:
        if self._patience is None:
            self._patience = self._loop.call_later(seconds, self.process.kill)

    def _read_reports(self) -> None:
        # First the output: what a test wrote was written before its report.
        self.process.read_output()
        data = self._line
        for _ in range(READS_PER_TURN_MAX):
            try:
                part = os.read(self._reports, READ_BYTES)
            except BlockingIOError:
                break
            if not part:
                self._loop.remove_reader(self._reports)
                break
            data += part
            if part.endswith(b"\n"):
                break
        lines, _, self._line = data.rpartition(b"\n")
        if len(self._line) > LINE_BYTES_MAX:
            self._line = b""
            self.process.kill()
        reports: list[AnyReport] = []
        for line in lines.split(b"\n"):
            # A test can write to any fd, ours too: what is no report is left out.
            with contextlib.suppress(msgspec.DecodeError):
                reports.append(decoder.decode(line))
        if reports:
            self._note(reports)

    def _note(self, reports: list[AnyReport]) -> None:
        for report in reports:
            if isinstance(report, Ready):
                self.ready = report
                self.settled.set()
            elif isinstance(report, Collected):
                self._collected.extend(CollectedItem(*row) for row in report.items)
            elif isinstance(report, Ending):
                self.leaving = report.reason
                self._end_within(FINISH_S_MAX)
        self._on_reports(reports)

    def collection(self) -> Collection:
        """What the process made of the suite; to be asked for once it has settled, of one that was started listing."""
        if self.ready is not None:
            return Collection(tuple(self._collected), self.ready.errors, self.ready.exit_code)
        text = "\n".join(filter(None, (self.leaving, self.process.output.text()))).strip()
        story, code = (
            ("is still starting", None) if self._ended is None else (self._ended.story(), self._ended.exit_code)
        )
        return Collection((), text or f"pytest {story}", code or USAGE_ERROR)

    def _end(self, ended: Ended) -> None:
        self._ended = ended
        self._read_reports()
        self._loop.remove_reader(self._reports)
        self._close()
        if self._patience is not None:
            self._patience.cancel()
        self.settled.set()
        self._on_end(ended)

    def _close(self) -> None:
        os.close(self._reports)
        self._orders.close()
        self._orders_theirs.close()
