"""What the forecasts of exhaustion are worth: precision, recall and lead time on made-up traces of a machine's memory.

Each trace is an hour of heartbeats at most, and ends where its memory does. A prediction is right if the end comes
before `expected_at` and the margin that the leader allows; an end is foreseen if such a prediction came at least
`--lead` seconds before it. `.venv/bin/python bench/forecast.py --traces 200`
"""

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from _harness import measuring, show

from events.clock import utc
from events.policy import Policy
from events.worker import Heartbeat
from recovery.forecasts import PREDICTORS, Outlook, Trend
from recovery.foresight import margin_s

LENGTH_S = 3600.0
GIB = float(1 << 30)
POLICY = Policy()
Course = Callable[[float], float]
"""Bytes left at a time; below 0.0 it is over."""


def noisy(rng: random.Random, course: Course, size: float) -> Course:
    share = rng.uniform(0.0005, 0.01)
    return lambda at: course(at) + rng.gauss(0.0, share * size)


def steady(rng: random.Random, size: float) -> Course:
    level = size * rng.uniform(0.1, 0.9)
    return lambda _: level


def leak(rng: random.Random, size: float) -> Course:
    """Steady, from some moment on; used up after two minutes to an hour."""
    begin, level = rng.uniform(0, 600), size * rng.uniform(0.3, 0.95)
    lasts = math.exp(rng.uniform(math.log(120), math.log(3600)))
    return lambda at: level - level * max(0.0, at - begin) / lasts


def growing_leak(rng: random.Random, size: float) -> Course:
    begin, level = rng.uniform(0, 600), size * rng.uniform(0.3, 0.95)
    lasts = rng.uniform(180, 1800)
    return lambda at: level - level * (max(0.0, at - begin) / lasts) ** 2


def leak_in_steps(rng: random.Random, size: float) -> Course:
    """Each test leaves something behind."""
    level, test_s = size * rng.uniform(0.3, 0.95), rng.uniform(5, 40)
    steps = rng.uniform(10, 80)
    return lambda at: level - level * math.floor(at / test_s) / steps


def sawtooth(rng: random.Random, size: float) -> Course:
    """A collector of garbage takes everything back, every few seconds or every ten minutes."""
    level, depth = size * rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.6)
    period = math.exp(rng.uniform(math.log(2), math.log(600)))
    return lambda at: level * (1 - depth * (at % period) / period)


def leaking_sawtooth(rng: random.Random, size: float) -> Course:
    teeth, level = sawtooth(rng, size), size * rng.uniform(0.3, 0.6)
    lasts = rng.uniform(300, 3000)
    return lambda at: teeth(at) - level * at / lasts


def breathing(rng: random.Random, size: float) -> Course:
    """A cache that grows and is given up, in waves."""
    level, depth = size * rng.uniform(0.4, 0.9), rng.uniform(0.1, 0.7)
    period, phase = rng.uniform(60, 3600), rng.uniform(0, 1)
    return lambda at: level * (1 - depth * (0.5 + 0.5 * math.sin(2 * math.pi * (at / period + phase))))


def step(rng: random.Random, size: float) -> Course:
    """Something large is loaded once, and stays."""
    begin, level, depth = rng.uniform(60, 3000), size * rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.95)
    takes = rng.uniform(0.5, 20)
    return lambda at: level * (1 - depth * min(1.0, max(0.0, (at - begin) / takes)))


def bursts(rng: random.Random, size: float) -> Course:
    """Large tests: each takes some, keeps it for a while, and gives it back."""
    level, spans = size * rng.uniform(0.5, 0.95), []
    at = 0.0
    while at < LENGTH_S:
        rise, stay = rng.uniform(1, 90), rng.uniform(0, 120)
        spans.append((at, rise, stay, rng.uniform(0.05, 0.7)))
        at += rise + stay + rng.expovariate(1 / 60)

    def course(moment: float) -> float:
        for begin, rise, stay, depth in spans:
            if begin <= moment < begin + rise + stay:
                return level * (1 - depth * min(1.0, (moment - begin) / rise))
        return level

    return course


def warming_up(rng: random.Random, size: float) -> Course:
    """A cache of a fixed size fills, ever more slowly."""
    level, depth, pace = size * rng.uniform(0.5, 0.95), rng.uniform(0.3, 0.9), rng.uniform(30, 600)
    return lambda at: level * (1 - depth * (1 - math.exp(-at / pace)))


def wandering(rng: random.Random, size: float) -> Course:
    """A random walk, and up again from the bottom as often as not."""
    level, pace = size * rng.uniform(0.3, 0.8), size * rng.uniform(0.0005, 0.004)
    steps = [level]
    while len(steps) < LENGTH_S:
        steps.append(min(size, steps[-1] + rng.gauss(0.0, pace * 3)))
    return lambda at: steps[min(int(at), len(steps) - 1)]


KINDS = (
    steady,
    leak,
    growing_leak,
    leak_in_steps,
    sawtooth,
    leaking_sawtooth,
    breathing,
    step,
    bursts,
    warming_up,
    wandering,
)
HEADINGS = ("traces", "ends", "predictions", "right", "precision", "foreseen", "recall", "lead")


class Foreseen(NamedTuple):
    at: float
    outlook: Outlook


class Run(NamedTuple):
    ended_at: float | None
    foreseen: list[Foreseen]

    def right(self, one: Foreseen) -> bool:
        return self.ended_at is not None and self.ended_at <= one.outlook.expected_at + margin_s(POLICY)

    def judged(self, one: Foreseen) -> bool:
        """Whether the trace is long enough to tell."""
        return self.ended_at is not None or one.outlook.expected_at + margin_s(POLICY) <= LENGTH_S


def heartbeats(rng: random.Random, course: Course) -> Iterator[tuple[float, Heartbeat]]:
    at, beat = 0.0, 0
    while at < LENGTH_S:
        beat += 1
        left = course(at)
        yield (
            at,
            Heartbeat(
                worker_id="w1",
                incarnation=1,
                beat=beat,
                sent_at=utc(at),
                memory_bytes=50_000_000,
                tasks_memory_bytes=0,
                memory_available_bytes=max(0, int(left)),
            ),
        )
        if left <= 0.0:
            return
        at += POLICY.heartbeat_interval * rng.uniform(0.9, 1.1)


def foreseen(trend: Trend) -> Outlook | None:
    """As the core looks at it: closely only where a glance shows a reason."""
    ends = trend.ends()
    for predictor in PREDICTORS.values():
        if ends is not None and predictor.near(*ends, POLICY):
            outlook = predictor.outlook(trend.samples(), POLICY)
            if outlook is not None:
                return outlook
    return None


def run(seed: str, kind: Callable[[random.Random, float], Course]) -> Run:
    rng = random.Random(seed)
    size = rng.uniform(1, 64) * GIB
    trend, found, quiet_until = Trend(1), [], 0.0
    for number, (at, heartbeat) in enumerate(heartbeats(rng, noisy(rng, kind(rng, size), size)), 1):
        if heartbeat.memory_available_bytes == 0:
            return Run(at, found)
        if trend.add(heartbeat, at, number) and at >= quiet_until:
            outlook = foreseen(trend)
            if outlook is not None:
                found.append(Foreseen(at, outlook))
                quiet_until = at + POLICY.forecast_cooldown
    return Run(None, found)


def measure(traces: int, lead_s: float) -> None:
    every: list[Run] = []
    print(f"{'':<18}" + "".join(f"{heading:>12}" for heading in HEADINGS))
    for kind in KINDS:
        runs = [run(f"{kind.__name__}/{number}", kind) for number in range(traces)]
        show_line(kind.__name__, runs, lead_s)
        every += runs
    show_line("all", every, lead_s)


def show_line(name: str, runs: list[Run], lead_s: float) -> None:
    judged = [(one, each) for one in runs for each in one.foreseen if one.judged(each)]
    right = sum(one.right(each) for one, each in judged)
    ends = [(one, one.ended_at) for one in runs if one.ended_at is not None]
    leads = sorted(ended_at - each.at for one, ended_at in ends for each in one.foreseen if one.right(each))
    foreseen = sum(
        any(one.right(each) and ended_at - each.at >= lead_s for each in one.foreseen) for one, ended_at in ends
    )
    cells = (
        len(runs),
        len(ends),
        len(judged),
        right,
        f"{right / len(judged):.2f}" if judged else "-",
        foreseen,
        f"{foreseen / len(ends):.2f}" if ends else "-",
        f"{statistics.median(leads):.0f} s" if leads else "-",
    )
    print(f"{name:<18}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


def beats_that_fall(count: int, a_beat: float) -> list[Heartbeat]:
    """Memory that is used up, and there again, over and over."""
    return [
        Heartbeat(
            worker_id="w1",
            incarnation=1,
            beat=number,
            sent_at=utc(number),
            memory_bytes=50_000_000,
            tasks_memory_bytes=int(number * a_beat),
            memory_available_bytes=int(4e9 - number * a_beat) % 4_000_000_000,
        )
        for number in range(1, count + 1)
    ]


def cost(count: int) -> None:
    """Microseconds a heartbeat: of a worker that is well, and of one whose memory runs out all the time."""
    for name, a_beat in (("steady", 0.0), ("falling", 2_000_000.0)):
        beats = beats_that_fall(count, a_beat)
        trend, began = Trend(1), time.process_time()
        for number, beat in enumerate(beats, 1):
            trend.add(beat, 2.0 * number, number)
        show(f"kept, {name}", [(time.process_time() - began) / count * 1e6], "us/heartbeat", 2)
        trend, began = Trend(1), time.process_time()
        for number, beat in enumerate(beats, 1):
            if trend.add(beat, 2.0 * number, number):
                foreseen(trend)
        show(f"kept and looked at, {name}", [(time.process_time() - began) / count * 1e6], "us/heartbeat", 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=100, help="of each kind")
    parser.add_argument("--lead", type=float, default=20.0, help="seconds that a drain and a new start take")
    arguments = parser.parse_args()
    with measuring("Forecasts of exhausted memory on made-up traces"):
        measure(arguments.traces, arguments.lead)
        cost(20_000)
