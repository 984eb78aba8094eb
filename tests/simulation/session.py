"""Warm pytest processes without pytest: tests are fed ahead, run one after another, and are reported as they go."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from tests.simulation.executions import Conduct, Execution, plan_of
from tests.simulation.keeper import OBEY_S, SIGSEGV, Keeper, Owner
from worker.jobs import Collection, Outcome, PytestJob, Suite
from worker.kept_process import Ended, Limits
from worker.slot_pytest import FINISH_S_MAX, AnyReport, Finished, Ready, Started

COLLECT_S = (0.2, 1.5)
"""For pytest to start and to collect."""
PIPE_MAX = 16
"""Tests that wait in the process's pipe."""


class SessionKeeper(Keeper):
    """The process and its keeper. It takes the next test from the pipe by itself, whatever the agent does meanwhile."""

    def __init__(
        self, owner: Owner, name: str, limits: Limits, on_report: Callable[..., None], on_end: Callable[[Ended], None]
    ) -> None:
        self.pipe: deque[PytestJob] = deque()
        self._ready = False
        self._last = False
        self._running: tuple[PytestJob, Execution] | None = None
        self._on_report = on_report
        super().__init__(owner, name, limits, on_end)

    def feed(self, job: PytestJob) -> None:
        self.pipe.append(job)
        self.process.call(self._next)

    def close_pipe(self) -> None:
        """The session ends after what is in the pipe."""
        self._last = True
        self.process.call(self._next)

    def begin(self) -> None:
        self.later(COLLECT_S, self._collected)

    def signal(self) -> None:
        self.later(OBEY_S, lambda: self.finish(Ended("killed")))

    def gone(self, how: str) -> None:
        if self._running is not None:
            self._end_test(how)

    def _collected(self) -> None:
        self._ready = True
        self._tell(Ready(0, "", 0, "simulated", "simulated", "/", captures=True))
        self._next()

    def _next(self) -> None:
        if not self._ready or self._running is not None or self._ending:
            return
        if not self.pipe:
            if self._last:
                self.finish(Ended("exited", exit_code=0))
            return
        job = self.pipe.popleft()
        plan = plan_of(job, self.host)
        self.owner.marks.append(job.key)
        self._running = job, self.owner.executions.begin(job.key, self.owner.worker_id, self.host.name)
        self._tell(Started(job.key, self.host.wall()))
        if plan.conduct is not Conduct.hangs:
            self._loop.call_later(plan.duration_s * self.owner.slowness, self._act, plan.conduct)

    def _act(self, conduct: Conduct) -> None:
        if self._ending:
            return
        if conduct in (Conduct.passes, Conduct.fails):
            job, execution = self._end_test("exited")
            outcome = Outcome.passed if conduct is Conduct.passes else Outcome.failed
            self._tell(Finished(job.key, outcome, self._loop.time() - execution.began, "", "", ""))
            self._next()
        elif conduct is Conduct.crashes:
            self.finish(Ended("signalled", signal=SIGSEGV))
        else:
            self.do_harm(conduct)

    def _end_test(self, how: str) -> tuple[PytestJob, Execution]:
        assert self._running is not None
        ended, self._running = self._running, None
        self.owner.executions.end(ended[1], how)
        return ended

    def _tell(self, report: AnyReport) -> None:
        self.owner.process.call(self._on_report, report)


class Session:
    """Keeps `worker.kept.Warm`."""

    def __init__(
        self,
        owner: Owner,
        suite: Suite,
        limits: Limits,
        on_reports: Callable[[list[AnyReport]], None],
        on_end: Callable[[Ended], None],
    ) -> None:
        self.suite = suite
        self.ready: Ready | None = None
        self.leaving = ""
        self.finishing = False
        self.settled = asyncio.Event()
        self._on_reports = on_reports
        self._on_end = on_end
        self._reports: list[AnyReport] = []
        self._patience: asyncio.TimerHandle | None = None
        self.process = SessionKeeper(owner, "pytest", limits, self._note, self._end)

    def hand(self, job: PytestJob) -> bool:
        if len(self.process.pipe) >= PIPE_MAX:
            return False
        self.process.feed(job)
        return True

    def take_back(self, key: str) -> bool:
        for job in self.process.pipe:
            if job.key == key:
                self.process.pipe.remove(job)
                return True
        return False

    def finish(self) -> None:
        if not self.finishing and not self.process.ended.is_set():
            self.finishing = True
            self.process.close_pipe()
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(FINISH_S_MAX if self.ready else 0, self.process.kill)

    def collection(self) -> Collection:
        return Collection((), "", 0)

    def _note(self, report: AnyReport) -> None:
        """What has come by the time that the agent looks is one list."""
        if not self._reports:
            asyncio.get_running_loop().call_soon(self._flush)
        self._reports.append(report)
        if isinstance(report, Ready):
            self.ready = report
            self.settled.set()

    def _flush(self) -> None:
        reports, self._reports = self._reports, []
        if reports:
            self._on_reports(reports)

    def _end(self, ended: Ended) -> None:
        self._flush()
        if self._patience is not None:
            self._patience.cancel()
        self.settled.set()
        self._on_end(ended)


def start_pytest(
    owner: Owner,
    suite: Suite,
    *,
    env: Mapping[str, str],
    limits: Limits,
    listing: bool,
    on_reports: Callable[[list[AnyReport]], None],
    on_end: Callable[[Ended], None],
) -> Session:
    """With its first argument bound, it keeps `worker.kept.StartPytest`."""
    return Session(owner, suite, limits, on_reports, on_end)
