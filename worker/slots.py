"""Lanes of execution: what an agent needs to run jobs in child processes, one at a time, and to be rid of them."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from events.host import host
from worker.collecting import collect
from worker.environment import slot_environment
from worker.jobs import Collection, CommandJob, Job, Outcome, PytestJob, SlotEvent, SlotFinished, SlotStarted, Suite
from worker.kept import PROCESSES, Kept, Runners, Warm
from worker.kept_process import Ended, Limits
from worker.slot_pytest import AnyReport, Finished, Started, Unknown
from worker.slot_verdicts import Running, Sentence, crashed_test, finished_command, finished_test, unbegun, unknown_test

__all__ = ["Collection", "CommandJob", "Job", "Outcome", "PytestJob", "Slot", "SlotEvent", "SlotFinished"]
__all__ += ["SlotStarted", "Suite", "collect"]

HANDED_MAX = 16  # jobs with the warm process, the running one included: enough that it does not starve
STARTS_MAX = 3  # processes in a row that end without having started a job, before the jobs are given up


class Slot:
    """One lane of execution: at most one running job, a few fed ahead.

    ``on_events`` is called from the loop with what happened at one moment as one list. Every job that is fed ends
    in exactly one SlotFinished, unless it was withdrawn. ``index`` has to be unique among the slots of a machine:
    suites keep databases and ports apart by it (PYTEST_XDIST_WORKER).
    """

    def __init__(
        self,
        index: int,
        on_events: Callable[[list[SlotEvent]], None],
        *,
        fence_after_s: float,
        worker_id: str,
        slot_count: int = 1,
        grace_s: float = 1.0,
        start_timeout_s: float = 300.0,
        memory_limit_bytes: int | None = None,
        env: Mapping[str, str] | None = None,
        runners: Runners = PROCESSES,
    ) -> None:
        self.index = index
        self._runners = runners
        self._on_events = on_events
        self._limits = Limits(fence_after_s=fence_after_s, grace_s=grace_s, memory_limit_bytes=memory_limit_bytes)
        self._start_timeout_s = start_timeout_s
        self._env = slot_environment(env, worker_id=worker_id, index=index, slot_count=slot_count)
        self._queue: deque[Job] = deque()
        self._handed: dict[str, PytestJob] = {}
        self._running: Running | None = None
        self._warm: Warm | None = None
        self._command: Kept | None = None
        self._sentence: Sentence | None = None
        self._fruitless = 0
        self._waiting_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._outbox: list[SlotEvent] = []
        self._closing = False

    # What is going on

    @property
    def running(self) -> Job | None:
        return self._running.job if self._running is not None else None

    @property
    def queued(self) -> tuple[Job, ...]:
        """What was fed and has not started, in order."""
        return (*self._handed.values(), *self._queue)

    @property
    def busy(self) -> bool:
        return self._running is not None or bool(self._handed) or bool(self._queue)

    @property
    def free(self) -> bool:
        """It neither runs a job nor gets ready for one."""
        preparing = (warm := self._warm) is not None and (warm.ready is None or warm.finishing)
        return self._running is None and not preparing

    @property
    def output_bytes(self) -> int:
        """What the process of the running job has written itself since the job began."""
        return len(process.output) if (process := self._process()) is not None else 0

    # What the agent asks for

    def feed(self, job: Job) -> None:
        """Run this after what was fed before. Raises ValueError for a key that is here already."""
        if self._closing:
            raise RuntimeError(f"slot {self.index} is closed: it takes no job {job.key!r}")
        if any(job.key == other.key for other in self.queued) or (self.running and self.running.key == job.key):
            raise ValueError(f"slot {self.index} has job {job.key!r} already")
        self._queue.append(job)
        self._pump()

    def withdraw(self, key: str) -> bool:
        """True if the job had not started and never will; nothing is reported about it then."""
        for job in self._queue:
            if job.key == key:
                self._queue.remove(job)
                self._pump()
                return True
        if key in self._handed and self._warm is not None and self._warm.take_back(key):
            del self._handed[key]
            self._pump()
            return True
        return False

    async def cancel(self, key: str) -> None:
        """End the job as cancelled, started or not. If it ran, it and all it started are gone on return."""
        if self.withdraw(key):
            self._tell(SlotFinished(key, Outcome.cancelled))
            self._flush()
            return
        running = self._running is not None and self._running.job.key == key
        process = self._process()
        if process is None or not (running or key in self._handed):
            return
        if self._sentence is None:
            self._sentence = Sentence(key, Outcome.cancelled)
            if running:  # else it is about to start, and its start will be its end
                self._execute()
        await process.ended.wait()

    def keep_alive(self) -> None:
        """To be called about once a second, and only while this worker may run what it was given."""
        for process in self._processes():
            process.keep_alive()

    def fence_after(self, seconds: float) -> None:
        """From now on, for what runs and for all that comes."""
        self._limits = Limits(**{**self._limits, "fence_after_s": seconds})
        for process in self._processes():
            process.fence_after(seconds)

    async def warm(self, suite: Suite, *, listing: bool = False) -> Collection | None:
        """Start the pytest process for a suite ahead of its first job; returns when it is ready or has failed.

        Does nothing while the slot is busy. What went wrong is told with the first job. With ``listing`` it returns
        what was collected; None if nothing was started.
        """
        if self.busy or self._closing or (self._warm is not None and self._warm.suite == suite):
            return None
        while self._warm is not None:
            await self._retire(self._warm)
        warm = self._start_warm(suite, listing=listing)
        if warm is None:
            return None
        await warm.settled.wait()
        return warm.collection() if listing else None

    async def close(self) -> None:
        """Cancel everything. Nothing that this slot has started is left on return."""
        self._closing = True
        for job in (*reversed(self.queued), self.running):
            if job is not None:
                await self.cancel(job.key)
        if self._warm is not None:
            await self._retire(self._warm)
        if self._command is not None:
            self._command.kill()
            await self._command.ended.wait()
        if self._timer is not None:
            self._timer.cancel()
        self._flush()

    @staticmethod
    async def _retire(warm: Warm) -> None:
        warm.finish()
        await warm.process.ended.wait()

    # Handing jobs out

    def _process(self) -> Kept | None:
        """The process that runs, or is about to run, a job."""
        return self._command or (self._warm.process if self._warm is not None else None)

    def _processes(self) -> list[Kept]:
        present = (self._warm.process if self._warm is not None else None, self._command)
        return [process for process in present if process is not None]

    def _pump(self) -> None:
        """Move jobs on as far as they can go now. Safe to call at any time."""
        while self._queue and self._sentence is None and self._command is None and not self._closing:
            job = self._queue[0]
            if isinstance(job, CommandJob):
                if self._running is not None or self._handed:
                    break
                self._queue.popleft()
                self._start_command(job)
            elif not self._hand(job):
                break
        self._set_timer()

    def _hand(self, job: PytestJob) -> bool:
        warm = self._warm
        if warm is not None and warm.suite != job.suite:
            if self._running is None and not self._handed:
                warm.finish()
            return False
        if warm is None and (warm := self._start_warm(job.suite)) is None:
            return True
        if warm.finishing or len(self._handed) + (self._running is not None) >= HANDED_MAX:
            return False
        if not self._handed and self._running is None:
            self._waiting_since = asyncio.get_running_loop().time()
        try:
            if not warm.hand(job):
                return False
            self._handed[job.key] = job
        except OSError as error:  # an id too long for a packet
            self._tell(SlotFinished(job.key, Outcome.error, message=f"cannot be handed to pytest: {error}"))
        self._queue.popleft()
        return True

    def _start_warm(self, suite: Suite, *, listing: bool = False) -> Warm | None:
        try:
            self._warm = self._runners.pytest(
                suite,
                env=self._env,
                limits=self._limits,
                listing=listing,
                on_reports=self._take_reports,
                on_end=self._end_warm,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in an argument
            self._give_up(suite, f"pytest cannot be started: {error}", error)
            return None
        self._waiting_since = asyncio.get_running_loop().time()
        self._set_timer()
        return self._warm

    def _start_command(self, job: CommandJob) -> None:
        try:
            self._command = self._runners.command(job, env=self._env, limits=self._limits, on_end=self._end_command)
        except (OSError, ValueError) as error:
            self._tell(unbegun(job, f"{job.argv!r} cannot be started: {error}", error))
            return
        self._start(job, host().wall())

    def _start(self, job: Job, started_at: float) -> None:
        # While the process is being killed for another job, a start is not told: it may never come to anything.
        announced = self._sentence is None or self._sentence.key == job.key
        self._running = Running(job, started_at, asyncio.get_running_loop().time(), announced)
        if announced:
            self._tell(SlotStarted(job.key, started_at))

    # What comes back

    def _take_reports(self, reports: list[AnyReport]) -> None:
        warm = self._warm
        if warm is None:
            return
        self._waiting_since = asyncio.get_running_loop().time()
        if any(isinstance(report, Started) for report in reports):
            warm.process.turn_page()
        for report in reports:
            if isinstance(report, Started) and report.key in self._handed:
                self._fruitless = 0
                self._start(self._handed.pop(report.key), report.at)
                if self._sentence is not None and self._sentence.key == report.key:
                    self._execute()
            elif isinstance(report, Unknown) and self._handed.pop(report.key, None) is not None:
                self._tell(SlotFinished(report.key, Outcome.error, message=unknown_test(warm.ready)))
                if self._sentence is not None and self._sentence.key == report.key:
                    self._execute()
            elif isinstance(report, Finished):
                captured = warm.ready is None or warm.ready.captures
                self._finish(finished_test(report, "" if captured else warm.process.recent_output()))
        self._pump()

    def _finish(self, finished: SlotFinished) -> None:
        running = self._running
        if running is not None and running.job.key == finished.key:
            self._running = None
            if not running.announced:
                self._tell(SlotStarted(finished.key, running.started_at))
            self._tell(finished)

    def _end_command(self, ended: Ended) -> None:
        command, self._command = self._command, None
        sentence, self._sentence = self._sentence, None
        if ended.cause == "fenced" and sentence is None:
            self._fence()
        elif self._running is not None and command is not None:
            now = asyncio.get_running_loop().time()
            self._finish(finished_command(self._running, now, ended, sentence, command.output.text()))
        self._pump()

    def _end_warm(self, ended: Ended) -> None:
        warm, self._warm = self._warm, None
        fenced = ended.cause == "fenced" and self._sentence is None
        if warm is None or self._command is not None or fenced:
            if fenced:
                self._fence()
            self._pump()
            return
        sentence, self._sentence = self._sentence, None
        running = self._running
        back: list[Job] = list(self._handed.values())
        self._handed.clear()
        evidence = warm.process.recent_output()
        if running is not None and not running.announced:
            self._running = None  # it began while the process was being killed for another
            back.insert(0, running.job)
        elif running is not None:
            mine = sentence if sentence is not None and sentence.key == running.job.key else None
            self._finish(crashed_test(running, asyncio.get_running_loop().time(), ended, mine, evidence))
        for job in reversed(back):
            if sentence is not None and sentence.key == job.key:
                self._tell(SlotFinished(job.key, sentence.outcome, message=sentence.message))
            else:
                self._queue.appendleft(job)
        if running is None and not warm.finishing:
            self._judge_start(warm, ended, sentence, evidence)
        self._pump()

    def _judge_start(self, warm: Warm, ended: Ended, sentence: Sentence | None, evidence: str) -> None:
        """The process ended without a test under way: try again, but not for ever."""
        self._fruitless += 1
        never = warm.ready is None and ended.cause in ("exited", "not_started")
        what = f"pytest {ended.story()}"
        if sentence is not None:
            if sentence.outcome is not Outcome.error:
                return  # the fence or a cancelled job, not the suite
            never, what = True, sentence.message
        if never or self._fruitless >= STARTS_MAX:
            self._give_up(warm.suite, "\n".join(filter(None, (what, warm.leaving, evidence))), ended)

    def _give_up(self, suite: Suite, message: str, cause: Exception | Ended) -> None:
        """No process for this suite gets as far as a test: its jobs end here, rather than start one for each."""
        self._fruitless = 0
        for job in list(self._queue):
            if isinstance(job, PytestJob) and job.suite == suite:
                self._queue.remove(job)
                self._tell(unbegun(job, message, cause))

    def _fence(self) -> None:
        """All that was fed may be somebody else's by now: nothing of it is started before it is fed again."""
        jobs = [job for job in (self.running, *self.queued) if job is not None]
        self._running = None
        self._handed.clear()
        self._queue.clear()
        process = self._process()
        if process is not None:  # an idle warm one beside the command, or the other way round: its turn comes now
            self._sentence = Sentence("", Outcome.fenced)
            process.kill()
        for job in jobs:
            self._tell(SlotFinished(job.key, Outcome.fenced, message="the agent was silent for too long"))

    # Time

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sentence is not None:
            return
        loop = asyncio.get_running_loop()
        if self._running is not None:
            if self._running.job.timeout_s is not None:
                self._timer = loop.call_at(self._running.since + self._running.job.timeout_s, self._time_out)
        elif self._handed or (self._warm is not None and self._warm.ready is None):
            self._timer = loop.call_at(self._waiting_since + self._start_timeout_s, self._time_out)

    def _time_out(self) -> None:
        if self._sentence is not None:
            return
        if self._running is not None:
            job = self._running.job
            self._sentence = Sentence(job.key, Outcome.timed_out, f"no end within {job.timeout_s:g} s")
        else:
            message = f"pytest was not ready to run a test within {self._start_timeout_s:g} s"
            self._sentence = Sentence("", Outcome.error, message)
        self._execute()

    def _execute(self) -> None:
        if self._command is not None:
            self._command.terminate()
        elif self._warm is not None:
            if self._sentence is not None and self._sentence.outcome is Outcome.cancelled:
                self._warm.process.kill()
            else:  # where it hangs is worth the moment that writing it down takes
                self._warm.process.abort()

    # Telling

    def _tell(self, event: SlotEvent) -> None:
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(event)

    def _flush(self) -> None:
        events, self._outbox = self._outbox, []
        if events:
            self._on_events(events)
