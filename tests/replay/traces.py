"""Made-up recordings of heartbeats, from a seed: how regularly workers are heard, and when they die."""

from collections.abc import Iterable, Iterator
from heapq import merge
from random import Random
from typing import NamedTuple

from events.base import Event
from events.clock import utc
from events.envelope import Envelope, Recorded
from events.policy import Policy
from events.worker import Heartbeat, RecordedHeartbeat, WorkerExited, WorkerFailed, WorkerRegistered
from replay.laboratory.trace import Trace, Tracer
from tests.recovery.story import policy_changed

BEGIN = 1_000_000.0


class Nature(NamedTuple):
    """How heartbeats come."""

    interval_s: float = 2.0
    spread: float = 0.1
    """Of the interval, either way: workers do not beat in step."""
    delay_sigma_s: float = 0.0
    """Deviation of the (half) normal distribution of delays on the way. Order is kept."""
    pause_share: float = 0.0
    """Of the heartbeats before which the worker pauses."""
    pause_s_max: float = 0.0


class Death(NamedTuple):
    worker: int
    after_s: float
    reported: bool
    """By its supervisor; else it is found by its silence alone."""


def arrivals(nature: Nature, seconds: float, random: Random) -> list[float]:
    """When one worker's heartbeats are stored, from `BEGIN` on."""
    times: list[float] = []
    sent = BEGIN + random.uniform(0.0, nature.interval_s)
    while sent < BEGIN + seconds:
        stored = sent + abs(random.gauss(0.0, nature.delay_sigma_s))
        times.append(max(stored, times[-1] if times else 0.0))
        sent += nature.interval_s * random.uniform(1 - nature.spread, 1 + nature.spread)
        if random.random() < nature.pause_share:
            sent += random.uniform(0.0, nature.pause_s_max)
    return times


def trace_of(times: Iterable[Iterable[float]], *events: tuple[float, Event], policy: Policy | None = None) -> Trace:
    """Workers `w0`, `w1`, ... with incarnations 1, 2, ... (behind a policy from 2 on) heard at those times; the
    events come after their registrations."""
    tracer = Tracer()
    heard = [list(one) for one in times]
    registrations: list[tuple[float, Event]] = [
        (BEGIN, WorkerRegistered(worker_id=f"w{number}", host="h", pid=1, slots=1)) for number in range(len(heard))
    ]
    in_force = [] if policy is None else [(BEGIN, policy_changed(policy))]
    told = [*in_force, *registrations, *sorted(events, key=lambda one: one[0])]
    for sequence, (time, event) in enumerate(told, 1):
        tracer.take(recorded(sequence, time, event))
    for beat in heartbeats(heard, first=1 + len(in_force)):
        tracer.hear(beat)
    return tracer.trace()


def heartbeats(times: list[list[float]], *, first: int = 1) -> Iterator[RecordedHeartbeat]:
    """In the order of the stream. `first`: the incarnation of the first worker."""
    queues = [[(time, number) for time in one] for number, one in enumerate(times)]
    for sequence, (time, number) in enumerate(merge(*queues), 1):
        content = Heartbeat(worker_id=f"w{number}", incarnation=first + number, beat=1, sent_at=utc(time))
        yield RecordedHeartbeat(sequence, time, content)


def recorded(sequence: int, time: float, event: Event) -> Recorded:
    envelope = Envelope(id=f"event-{sequence:06}", time=utc(time), source="test", event=event)  # type: ignore[arg-type]
    return Recorded(sequence, time, event.tail(), envelope)


def farm(workers: int, seconds: float, nature: Nature, *deaths: Death, seed: int = 1) -> Trace:
    """A farm of such workers, some of which die. What is not reported is found by silence, a minute later."""
    random = Random(seed)
    times = [arrivals(nature, seconds, random) for _ in range(workers)]
    events: list[tuple[float, Event]] = []
    for number, after_s, reported in deaths:
        at = BEGIN + after_s
        times[number] = [time for time in times[number] if time < at]
        end: Event = (
            WorkerExited(worker_id=f"w{number}", incarnation=number + 1, signal=9)
            if reported
            else WorkerFailed(worker_id=f"w{number}", incarnation=number + 1, reason="silence")
        )
        events.append((at if reported else at + 60.0, end))
    return trace_of(times, *events)
