"""The health of a farm for people's eyes: what matters first, as wide and as high as there is room for."""

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.console import Group
from rich.text import Text

from coordinator.fleet.document import (
    Cordoned,
    Failure,
    FleetHealth,
    Forecast,
    OpenBreaker,
    Recovery,
    Stalling,
    Suspicion,
    WorkerHealth,
)
from events.forecast import Resource
from events.worker import Heartbeat, StallCause

STATUS_STYLES = {
    "healthy": "green",
    "idle": "green",
    "degraded": "yellow",
    "critical": "bold red",
    "alive": "green",
    "suspect": "yellow",
    "stalled": "yellow",
    "draining": "cyan",
    "exited": "red",
    "failed": "bold red",
    "permanent": "bold red",
    "stopped": "dim",
}
ID_WIDTH_MAX = 24
INDENT = 4
GAP = 2
WIDTH_MIN = 40
"""Narrower terminals get lines that are cut."""
FRAME_LINES = 3
"""An empty line, the heading, and what is said of those for whom there is no room."""
DOUBT_FRESH_S = 60.0
MIB = 1024 * 1024
STALLED: dict[StallCause, str] = {
    "not_started": "it has not begun its tasks",
    "not_obeyed": "it has not obeyed an order",
    "failing_fast": "it fails everything at once",
}
RUNS_OUT: dict[Resource, str] = {"memory": "memory", "disk": "disk", "loop_lag": "loop lag", "errors": "failing tasks"}
TASKS_NAMED = 3
UNKNOWN = "-"
DUE_S = 0.05
"""Less than this is at once, to a reader."""


class Column(NamedTuple):
    heading: str
    cell: Callable[[WorkerHealth], str]
    right: bool = True


def board(health: FleetHealth, *, width: int, height: int | None = None) -> Group:
    """The whole picture of one moment, at most `width` columns wide and, if the summary fits, `height` lines high."""
    summary = [line for text in _summary(health) for line in _wrapped(text, width)]
    room = None if height is None else height - len(summary) - FRAME_LINES
    return Group(*summary, Text(), *_workers(health, width, room)) if health.workers else Group(*summary)


def _summary(health: FleetHealth) -> list[Text]:
    counts = ", ".join(f"{count:,} {status}" for status, count in health.by_status.items()) or "no workers"
    first = Text()
    first.append(health.status, STATUS_STYLES[health.status])
    first.append(f": {health.workers_live:,} of {health.workers_expected:,} expected workers live ({counts})")
    lines = [first, _leader(health)]
    if not health.auto_recovery:
        lines.append(Text("automatic recovery is switched off", "yellow"))
    if health.detectors_missing:
        names = ", ".join(health.detectors_missing)
        lines.append(Text(f"not installed here, and replaced by the most patient of all detectors: {names}", "yellow"))
    if health.pause is not None:
        why = f": {health.pause.reason}" if health.pause.reason else ""
        since = f"paused for {span(health.pause.age_s)} by {health.pause.actor} (event {health.pause.sequence})"
        lines.append(Text(f"recovery is {since}{why}", "bold yellow"))
    if health.stretch > 1.0:
        lines.append(Text(f"so many workers beat every {health.heartbeat_interval_s:.1f} s, and are judged as slowly"))
    lines += [
        Text(
            f"incident {one.kind} open for {span(one.age_s)}: {one.affected_workers} workers, "
            f"{one.affected_tasks} tasks affected",
            "bold red",
        )
        for one in health.incidents
    ]
    for need in health.stranded:
        labels = ", ".join(f"{name}={value}" for name, value in need.requires.items())
        tasks = "1 task waits" if need.tasks == 1 else f"{need.tasks:,} tasks wait"
        lines.append(Text(f"{tasks} for {labels}, which no worker that is there or expected has", "yellow"))
    if health.breaker is not None:
        lines.append(Text(_breaker(health.breaker, health.repairs_waiting), "bold red"))
    doubt = health.doubt
    if doubt is not None:
        extent = f" ({doubt.extent_s:.1f} s)" if doubt.extent_s else ""
        lines.append(
            Text(
                f"the leader last doubted its own eyes {span(doubt.age_s)} ago: {doubt.reason}{extent}, "
                f"event {doubt.sequence}",
                "yellow" if doubt.age_s < DOUBT_FRESH_S else "dim",
            )
        )
    lines += [
        Text(
            f"what is foreseen of {RUNS_OUT[one.resource]} is not acted on: of the last predictions "
            f"{one.right / (one.right + one.wrong):.0%} were right",
            "yellow",
        )
        for one in health.mistrusted
    ]
    unknown = health.errors.get("unknown", 0)
    if unknown:
        lines.append(Text(f"{unknown:,} failures were of a kind that nobody knows (error 'unknown')", "yellow"))
    return lines + _strategies(health)


def _strategies(health: FleetHealth) -> list[Text]:
    """What has helped against which failure: a line for each reason."""
    lines = []
    for reason, records in groupby(health.strategies, key=lambda record: record.reason):
        told = ", ".join(
            f"{one.strategy} {one.succeeded:,} of {one.succeeded + one.failed:,} ({one.estimate:.0%} expected)"
            for one in records
        )
        lines.append(Text(f"helped against {reason}: {told}", "dim"))
    if lines and health.strategy_order == "history":
        lines.append(Text("what has helped most often against a failure is tried first", "dim"))
    return lines


def _breaker(breaker: OpenBreaker, waiting: int) -> str:
    what = f"too many workers could not be brought back: {waiting:,} attempts wait"
    if breaker.probe:
        return f"{what} for what becomes of {breaker.probe}"
    return f"{what}; one is let through in {span(breaker.opens_in_s)}"


def _leader(health: FleetHealth) -> Text:
    leader = health.leader
    where = f"behind event {health.events_sequence}, heartbeat {health.heartbeats_sequence}"
    if leader.holds_lease and leader.coordinator_id is not None:
        return Text(f"led by {leader.coordinator_id} for {span(leader.age_s)} (term {leader.term}), {where}")
    last = f"; the last was {leader.coordinator_id} (term {leader.term})" if leader.coordinator_id else ""
    return Text(f"nobody leads: silence is not judged and nothing is repaired{last}; {where}", "bold red")


def _workers(health: FleetHealth, width: int, room: int | None) -> list[Text]:
    """`room`: how many lines there are for workers, without the heading and what is said of the others."""
    entries = [(worker, _explained(worker, health, width)) for worker in health.workers]
    shown, left = [], room
    for worker, explained in entries:
        if left is not None:
            left -= 1 + len(explained)
            if left < 0:
                break
        shown.append((worker, explained))
    workers = [worker for worker, _ in shown]
    columns = _fitting(workers, width)
    widths = [_width(column, workers) for column in columns]
    lines = [_line([column.heading for column in columns], columns, widths, "bold")]
    for worker, explained in shown:
        line = _line([column.cell(worker) for column in columns], columns, widths, "")
        start = widths[0] + GAP
        line.stylize(STATUS_STYLES.get(worker.status, "yellow"), start, start + len(worker.status))
        if worker.silence is None:
            # What its last heartbeat said is not how it is now.
            line.stylize("dim", start + len(worker.status))
        elif worker.silence.threshold_s is not None and worker.silence.seconds > worker.silence.threshold_s:
            line.stylize("yellow", start + len(worker.status))
        lines += [line, *explained]
    omitted = Counter(health.omitted) + Counter(worker.status for worker, _ in entries[len(shown) :])
    if omitted:
        others = ", ".join(f"{count:,} more {status}" for status, count in omitted.items())
        lines.append(Text(f"and {others}", "dim"))
    return lines


def _explained(worker: WorkerHealth, health: FleetHealth, width: int) -> list[Text]:
    indent = " " * INDENT
    return [
        Text(line, no_wrap=True)
        for sentence in explanations(worker, health)
        for line in textwrap.wrap(sentence, max(width, WIDTH_MIN), initial_indent=indent, subsequent_indent=indent * 2)
    ]


def _wrapped(text: Text, width: int) -> list[Text]:
    """The lines of a text, each in the text's own style; what is styled in its first word stays so."""
    lines = textwrap.wrap(text.plain, max(width, WIDTH_MIN), subsequent_indent=" " * INDENT)
    made = [Text(line, text.style, no_wrap=True) for line in lines]
    for part in text.spans:
        made[0].stylize(part.style, part.start, part.end)
    return made


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], style: str) -> Text:
    parts = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        parts.append(cell.rjust(width) if column.right else cell.ljust(width))
    return Text((" " * GAP).join(parts).rstrip(), style, no_wrap=True, overflow="ellipsis")


def cut(text: str, length_max: int) -> str:
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def explanations(worker: WorkerHealth, health: FleetHealth) -> list[str]:
    """What there is to say of a worker that is not simply alive."""
    said = []
    if worker.failure is not None:
        said.append(_why_failed(worker.failure))
    if worker.suspicion is not None:
        said.append(_why_suspected(worker.suspicion))
    if worker.stalling is not None:
        said.append(_why_stalled(worker.stalling))
    said += [_what_is_foreseen(one) for one in worker.forecasts]
    said += [_why_cordoned(one) for one in worker.cordons]
    if not said and worker.detail and worker.status != "permanent":
        said.append(worker.detail)
    if worker.status == "permanent":
        said.append(f"given up (event {worker.status_sequence}): {worker.detail or 'no reason was given'}")
    elif worker.recovery is not None:
        said.append(_what_is_done(worker.recovery))
    elif worker.status == "failed":
        said.append(f"recovery: {_why_nothing_is_done(health)}")
    return said


def _why_nothing_is_done(health: FleetHealth) -> str:
    if not health.auto_recovery:
        return "switched off"
    return "paused" if health.pause is not None else "not scheduled yet"


def _why_failed(failure: Failure) -> str:
    parts = [f"{failure.reason} {span(failure.age_s)} ago (event {failure.sequence}"]
    if failure.evidence_sequence and failure.evidence_sequence != failure.sequence:
        parts[0] += f", proven by event {failure.evidence_sequence}"
    parts[0] += ")"
    if failure.message:
        parts.append(failure.message)
    text = ": ".join(parts)
    if failure.threshold_s is not None:
        text += f" ({failure.threshold_s:.1f} s were allowed)"
    return text if failure.synthetic is None else f"{text}; made up ({failure.synthetic})"


def _why_suspected(suspicion: Suspicion) -> str:
    what = "it lost its connection" if suspicion.disconnected else "it was silent"
    text = f"suspected {span(suspicion.age_s)} ago (event {suspicion.sequence}): {what}"
    if suspicion.silence_s is not None and suspicion.threshold_s is not None:
        text += f" for {suspicion.silence_s:.1f} s ({suspicion.threshold_s:.1f} s were allowed)"
    return text


def _why_stalled(stalling: Stalling) -> str:
    text = f"stalled {span(stalling.age_s)} ago (event {stalling.sequence}): {STALLED[stalling.cause]}"
    if stalling.waited_s is not None and stalling.threshold_s is not None:
        text += f" for {stalling.waited_s:.1f} s ({stalling.threshold_s:.1f} s were allowed)"
    if stalling.tasks:
        more = len(stalling.tasks) - TASKS_NAMED
        text += f": {', '.join(stalling.tasks[:TASKS_NAMED])}{f' and {more} more' if more > 0 else ''}"
    return text + (
        "; its supervisor is to restart it" if stalling.restart else "; others are to show whose fault it is"
    )


def _what_is_foreseen(one: Forecast) -> str:
    text = f"{RUNS_OUT[one.resource]} heads for its limit (event {one.sequence}): {_amount(one.resource, one.value)}"
    if one.slope_per_s:
        text += f", {'falling' if one.slope_per_s < 0 else 'rising'} by {_amount(one.resource, abs(one.slope_per_s))}/s"
    if one.heartbeats is not None:
        text += f" from heartbeat {one.heartbeats[0]} to {one.heartbeats[1]}"
    due = one.expected_in_s
    text += f"; a failure is expected in {span(due)}" if due > 0.0 else f"; a failure was expected {span(-due)} ago"
    if one.acted:
        return text + f"; it {'is drained, to begin anew' if one.remedy == 'restart' else 'gets no more work'}"
    return text


def _why_cordoned(one: Cordoned) -> str:
    until = "until somebody lifts it" if one.ends_in_s is None else f"for another {span(one.ends_in_s)}"
    by = f" by {one.actor}" if one.actor else ""
    where = f" (event {one.sequence})" if one.sequence else ""
    return f"cordoned{by}, {until}: {one.cause}{where}{f': {one.reason}' if one.reason else ''}"


def _amount(resource: Resource, value: float) -> str:
    if resource == "errors":
        return f"{value:.0%} of the last ones failed"
    return f"{value * 1000:.1f} ms" if resource == "loop_lag" else f"{value / MIB:.1f} MiB"


def _what_is_done(recovery: Recovery) -> str:
    text = f"recovery: attempt {recovery.attempt} of {recovery.attempts_max}, {recovery.strategy}, "
    due = recovery.due_in_s
    if recovery.status == "scheduled":
        return text + (f"begins in {span(due)}" if due > DUE_S else "begins now")
    waiting = "waits for it to register" if recovery.status == "started" else "it was probed, and has to answer"
    return text + waiting + (f" within {span(due)}" if due > 0.0 else ", overdue")


def span(seconds: float) -> str:
    """A span of time in at most two units: `0.3 s`, `14 s`, `3 m 20 s`, `2 h 5 m`, `3 d 4 h`."""
    if seconds < 10.0 - DUE_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} m {rest} s" if rest else f"{minutes} m"
    hours, rest = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {rest} m" if rest else f"{hours} h"
    days, rest = divmod(hours, 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def _heard(worker: WorkerHealth) -> str:
    return "never" if worker.heartbeat is None else f"{span(worker.heartbeat.age_s)} ago"


def _limit(worker: WorkerHealth) -> str:
    silence = worker.silence
    if silence is None:
        return UNKNOWN
    return "now" if silence.threshold_s is None else f"{silence.threshold_s:.1f} s"


def _gauge(show: Callable[[Heartbeat], str]) -> Callable[[WorkerHealth], str]:
    def cell(worker: WorkerHealth) -> str:
        beat = worker.heartbeat
        return UNKNOWN if beat is None or beat.content is None else show(beat.content)

    return cell


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return UNKNOWN
    mib = size_bytes / MIB
    return f"{mib:.0f} MiB" if mib < 10_000 else f"{mib / 1024:.0f} GiB"


ALWAYS = (
    Column("WORKER", lambda worker: cut(worker.worker_id, ID_WIDTH_MAX), right=False),
    Column("STATUS", lambda worker: worker.status, right=False),
    Column("HEARD", _heard),
    Column("LIMIT", _limit),
    Column("RUNS", _gauge(lambda beat: str(len(beat.running)))),
    Column("WAIT", _gauge(lambda beat: str(beat.queued))),
)
ROOM_GIVEN = (
    Column("TASKS", lambda worker: str(worker.tasks)),
    Column("CPU", _gauge(lambda beat: f"{beat.cpu_percent:.0f} %")),
    Column("LOAD", _gauge(lambda beat: f"{beat.load_1m:.1f}")),
    Column("MEM FREE", _gauge(lambda beat: _size(beat.memory_available_bytes))),
    Column("DISK FREE", _gauge(lambda beat: _size(beat.disk_free_bytes))),
    Column("AGENT", _gauge(lambda beat: _size(beat.memory_bytes))),
    Column("LAG", _gauge(lambda beat: f"{beat.loop_lag_s * 1000:.0f} ms")),
    Column("BEAT", lambda worker: UNKNOWN if worker.heartbeat is None else str(worker.heartbeat.sequence)),
    Column("SLOTS", lambda worker: str(worker.slots)),
    Column("HOST", lambda worker: worker.host, right=False),
)
"""In the order in which they are left out from the end."""


def _fitting(workers: Sequence[WorkerHealth], width: int) -> list[Column]:
    chosen = list(ALWAYS)
    used = sum(_width(column, workers) + GAP for column in chosen) - GAP
    for column in ROOM_GIVEN:
        used += _width(column, workers) + GAP
        if used > width:
            break
        chosen.append(column)
    return chosen


def _width(column: Column, workers: Sequence[WorkerHealth]) -> int:
    return max(len(column.heading), *(len(column.cell(worker)) for worker in workers)) if workers else 0
