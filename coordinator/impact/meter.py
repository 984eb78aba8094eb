"""What recovering costs: use of processors and memory while workers are out, beside what it was before and is after.

Pure: samples and the log come in, with times by the broker's clock. A stretch begins with the first outage and ends
when no worker is out any more and `AFTER_S` have been measured behind that; then it is told, once. What an outage did
before anybody noticed belongs to it, so samples are kept for a while.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from coordinator.fleet.tally import Tally
from events.clock import utc
from events.envelope import Recorded
from events.system import Course, RecoveryMeasured, Use
from events.worker import RecordedHeartbeat, WorkerFailed
from recovery.state import State

BEFORE_S = 60.0
"""Measured before an outage, at most."""
BEFORE_S_MIN = 5.0
"""With less before it, there is nothing to compare with."""
AFTER_S = 30.0
KEPT_S = 180.0
"""An outage is noticed within that, or its beginning is not measured."""
LENGTH_S_MAX = 900.0
"""A stretch that takes longer is given up: what is compared then has little to do with the recovery."""
HEARTBEATS_PER_S_MAX = 100
"""Of a larger farm only some are looked at, evenly: what is kept of them is kept for minutes."""
BURST_S = 1.0
"""As many as are allowed in that time may come at once."""
KEPT_MAX = round(KEPT_S * (HEARTBEATS_PER_S_MAX + 2))
"""Whatever the clock does."""
OWN = ""
"""The host under which the coordinator's own samples go."""


class Sample(NamedTuple):
    time: float
    host: str
    cpu_percent: float
    memory_bytes: int
    available_bytes: int | None


class _Mean:
    """Of the samples of one host."""

    def __init__(self) -> None:
        self._count = 0
        self._known = 0
        self._cpu = 0.0
        self._memory = 0
        self._available = 0

    def add(self, sample: Sample) -> None:
        self._count += 1
        self._cpu += sample.cpu_percent
        self._memory += sample.memory_bytes
        if sample.available_bytes is not None:
            self._known += 1
            self._available += sample.available_bytes

    def use(self) -> Use:
        return Use(
            cpu_percent=self._cpu / self._count,
            memory_bytes=self._memory // self._count,
            memory_available_bytes=self._available // self._known if self._known else None,
        )


class _Part:
    """Of a stretch: before, during or after."""

    def __init__(self) -> None:
        self.hosts: dict[str, _Mean] = {}

    def add(self, sample: Sample) -> None:
        mean = self.hosts.get(sample.host)
        if mean is None:
            mean = self.hosts[sample.host] = _Mean()
        mean.add(sample)


class _Stretch:
    def __init__(self, began_at: float, quiet_since: float, kept: Iterable[Sample]) -> None:
        self.began_at = began_at
        self.ended_at: float | None = None
        """None: somebody is out."""
        self.outages = 0
        self.before, self.during, self.after = _Part(), _Part(), _Part()
        first = began_at
        for sample in kept:
            if sample.time >= began_at:
                self.during.add(sample)
            elif sample.time > quiet_since and sample.time >= began_at - BEFORE_S:
                self.before.add(sample)
                first = min(first, sample.time)
        self.before_s = began_at - first

    def add(self, sample: Sample) -> None:
        if self.ended_at is None or sample.time <= self.ended_at:
            self.during.add(sample)
        elif sample.time <= self.ended_at + AFTER_S:
            self.after.add(sample)

    def course(self, hosts: Sequence[str]) -> Course:
        parts = (self.before, self.during, self.after)
        before, during, after = (_mean_use([part.hosts[host].use() for host in hosts]) for part in parts)
        return Course(before=before, during=during, after=after)

    def common_hosts(self) -> list[str]:
        return [host for host in self.before.hosts if host in self.during.hosts and host in self.after.hosts]


def _mean_use(uses: Sequence[Use]) -> Use:
    available = [use.memory_available_bytes for use in uses if use.memory_available_bytes is not None]
    return Use(
        cpu_percent=round(sum(use.cpu_percent for use in uses) / len(uses), 3),
        memory_bytes=sum(use.memory_bytes for use in uses) // len(uses),
        memory_available_bytes=sum(available) // len(available) if len(available) == len(uses) else None,
    )


class Meter:
    """`tell` is handed what a stretch came to, if this coordinator leads at its end."""

    def __init__(self, coordinator_id: str, tell: Callable[[RecoveryMeasured], None]) -> None:
        self._coordinator_id = coordinator_id
        self._tell = tell
        self._kept: deque[Sample] = deque(maxlen=KEPT_MAX)
        self._stretch: _Stretch | None = None
        self._paid_until = 0.0
        """By the heartbeats taken so far, each of which pays for its share of a second."""
        self._quiet_since = 0.0
        """When the last outage ended."""
        self._spoilt = False
        """The present outages are made up, an operator's, or take too long: not measured until all are over."""

    def take(self, batch: Sequence[Recorded], tally: Tally) -> None:
        """What has been folded, with the tally as it is behind that."""
        for recorded in batch:
            event = recorded.event
            if not isinstance(event, WorkerFailed):
                continue
            outage = tally.outages.get(event.worker_id)
            if recorded.synthetic is not None or tally.held:
                self._spoil()
            elif outage is not None and not self._spoilt:
                self._begin(outage.down_at, recorded.time)
        if tally.held and tally.outages:
            self._spoil()
        if tally.outages or not batch:
            return
        if self._spoilt or (self._stretch is not None and self._stretch.ended_at is None):
            self._quiet_since = batch[-1].time
        self._spoilt = False
        if self._stretch is not None and self._stretch.ended_at is None:
            self._stretch.ended_at = batch[-1].time

    def _spoil(self) -> None:
        self._spoilt, self._stretch = True, None

    def _begin(self, down_at: float, failed_at: float) -> None:
        if self._stretch is None:
            self._stretch = _Stretch(max(down_at, failed_at - (KEPT_S - BEFORE_S)), self._quiet_since, self._kept)
        self._stretch.outages += 1
        if self._stretch.ended_at is not None:
            # What came after the former ones is before this one; it is neither.
            self._stretch.ended_at, self._stretch.after = None, _Part()

    def sample(self, sample: Sample) -> None:
        self._kept.append(sample)
        while self._kept[0].time < sample.time - KEPT_S:
            self._kept.popleft()
        if self._stretch is not None:
            self._stretch.add(sample)

    def heartbeats(self, batch: Sequence[RecordedHeartbeat], state: State) -> None:
        """Those of a large farm are thinned out, however they come (generic cell rate algorithm, ITU-T I.371)."""
        for recorded in batch:
            ahead = self._paid_until - recorded.time
            if BURST_S < ahead < 2 * BURST_S:  # further ahead, and the clock has been set back
                continue
            standing = ahead if 0.0 < ahead <= BURST_S else 0.0
            self._paid_until = recorded.time + standing + 1 / HEARTBEATS_PER_S_MAX
            beat = recorded.heartbeat
            worker = None if beat is None else state.workers.get(beat.worker_id)
            if beat is None or worker is None:
                continue
            memory = beat.memory_bytes + (beat.tasks_memory_bytes or 0)
            self.sample(Sample(recorded.time, worker.host, beat.cpu_percent, memory, beat.memory_available_bytes))

    def look(self, now: float, *, leading: bool) -> None:
        """To be called now and then: what is due is told, and what takes too long is given up."""
        stretch = self._stretch
        if stretch is None:
            return
        if now > stretch.began_at + LENGTH_S_MAX:
            self._spoilt, self._stretch = stretch.ended_at is None, None
        elif stretch.ended_at is not None and now >= stretch.ended_at + AFTER_S:
            self._stretch = None
            hosts = stretch.common_hosts()
            if leading and OWN in hosts and stretch.before_s >= BEFORE_S_MIN:
                self._tell(self._told(stretch, stretch.ended_at, [host for host in hosts if host != OWN]))

    def _told(self, stretch: _Stretch, ended_at: float, hosts: Sequence[str]) -> RecoveryMeasured:
        return RecoveryMeasured(
            began_at=utc(stretch.began_at),
            ended_at=utc(ended_at),
            outages=stretch.outages,
            before_s=round(stretch.before_s, 3),
            after_s=AFTER_S,
            coordinator=stretch.course([OWN]),
            hosts=len(hosts),
            workers=stretch.course(hosts) if hosts else None,
            coordinator_id=self._coordinator_id,
        )
