"""`resurgam replay detectors`: a recording in, a comparison out."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from events.log import EventLog
from replay.access import CannotReplay
from replay.laboratory.settings import in_force, parsed, usual_settings
from replay.laboratory.trace import Recording, Trace, Tracer
from replay.laboratory.trial import Score, tried
from replay.reading import Progress


class Experiment(NamedTuple):
    trace: Trace
    scores: list[Score]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What `resurgam replay detectors --json` prints."""

    heartbeats: int
    workers: int
    incarnations: int
    worker_hours: float
    failures_proven: int
    failures_presumed: int
    scores: list[Score]


async def experiment(
    log: EventLog, beats: Recording, given: Sequence[str], *, progress: Progress | None = None
) -> Experiment:
    """`given`: settings as the command line names them; none: the usual ones. That in force is always among them.

    Raises:
        CannotReplay: a setting makes no sense, or there are no heartbeats.
        LogError: there is more, and it does not come.
    """
    tracer = Tracer()
    await tracer.read_log(log)
    policy = tracer.policy
    settings = [in_force(policy), *([parsed(text, policy) for text in given] or usual_settings(policy))]
    await tracer.read_heartbeats(beats, progress=progress)
    trace = tracer.trace()
    if not trace.beats:
        raise CannotReplay("there are no heartbeats to judge by: a system keeps them for a day, an archive for ever")
    return Experiment(trace, tried(trace, settings))


def answer(done: Experiment) -> Answer:
    trace = done.trace
    ends = [life.end.kind for life in trace.lives]
    return Answer(
        heartbeats=trace.beats,
        workers=len({life.worker_id for life in trace.lives}),
        incarnations=len(trace.lives),
        worker_hours=round(trace.worker_hours, 3),
        failures_proven=ends.count("proven"),
        failures_presumed=ends.count("presumed"),
        scores=done.scores,
    )
