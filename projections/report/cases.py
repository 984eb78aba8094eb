"""The worst that happened, each with the chain of its causes and effects."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from projections.asking import History
from projections.patterns.finding import quoted
from projections.report.content import Case, Link, Outage
from projections.report.words import ending, fields_of, moment, seconds

CASES_MAX = 5
TASKS_MAX = 3
LINKS_MAX = 40
DEPTH_MAX = 12
ABOVE_MAX = 6
ALIKE_MAX = 3
"""So many of one kind with one cause are shown."""


def worst(outages: Sequence[Outage], until: datetime) -> list[Outage]:
    """Those that did not end well first, then the longest."""

    def badness(outage: Outage) -> tuple[int, float]:
        away = outage.recovery_s
        if away is None:
            away = ((outage.ended_at or until) - outage.down_at).total_seconds()
        return {"permanent": 2, None: 1}.get(outage.ending, 0), away

    return sorted(outages, key=badness, reverse=True)[:CASES_MAX]


def outage_cases(history: History, outages: Sequence[Outage], until: datetime) -> list[Case]:
    """Raises:
    QueryError: the history cannot be asked.
    """
    chosen = worst(outages, until)
    if not chosen:
        return []
    chains = _chains(history, [(one.id, one.worker_id, one.ended_at or until) for one in chosen])
    requeued = _requeued(history, chosen)
    return [_case(outage, chains[outage.id], requeued.get(outage.id, 0)) for outage in chosen]


def _case(outage: Outage, chain: list[Link], requeued: int) -> Case:
    shown, left_out = _shortened(chain)
    took = f" after {seconds(outage.recovery_s)}" if outage.recovery_s is not None else ""
    note = f"{requeued} task{'' if requeued == 1 else 's'} went elsewhere" if requeued else ""
    return Case(
        title=f"{outage.worker_id} failed at {moment(outage.failed_at)} ({outage.reason}): {ending(outage)}{took}",
        chain=shown,
        left_out=left_out,
        note=note,
    )


def _shortened(chain: list[Link]) -> tuple[list[Link], int]:
    alike: dict[tuple[str, int | None], int] = defaultdict(int)
    shown: list[Link] = []
    for link in chain:
        alike[link.kind, link.cause] += 1
        if alike[link.kind, link.cause] <= ALIKE_MAX and len(shown) < LINKS_MAX:
            shown.append(link)
    return shown, len(chain) - len(shown)


def _chains(history: History, roots: Sequence[tuple[int, str, datetime]]) -> dict[int, list[Link]]:
    """What led to each failure in that life of the worker, what it led to, and what else befell the worker until it was
    over."""
    values = ", ".join(
        f"({sequence}, {quoted(worker_id)}, make_timestamp({round(until.timestamp() * 1e6)}))"
        for sequence, worker_id, until in roots
    )
    rows = history.rows(
        f"""
        WITH RECURSIVE roots AS (FROM (VALUES {values}) AS given(root, worker_id, until)),
            above AS (
                SELECT root, sequence, causation_id, coalesce(incarnation, 0) AS since, 0 AS depth
                FROM roots JOIN events ON sequence = root JOIN failures ON failures.id = root
                UNION ALL
                SELECT above.root, events.sequence, events.causation_id, since, above.depth + 1
                FROM above JOIN events ON events.event_id = above.causation_id
                WHERE above.depth < {ABOVE_MAX} AND events.sequence >= since),
            below AS (
                SELECT root, sequence, event_id, 0 AS depth FROM roots JOIN events ON sequence = root
                UNION ALL
                SELECT below.root, events.sequence, events.event_id, below.depth + 1
                FROM below JOIN events ON events.causation_id = below.event_id WHERE below.depth < {DEPTH_MAX}),
            chain AS (
                SELECT root, sequence FROM above UNION SELECT root, sequence FROM below
                UNION
                SELECT root, sequence FROM roots JOIN events ON entity = worker_id AND starts_with(kind, 'worker.')
                    AND sequence >= root AND recorded_at <= until)
        SELECT root, events.sequence, events.recorded_at, events.kind, events.entity, events.payload, causes.sequence
        FROM chain JOIN events USING (sequence) LEFT JOIN events AS causes ON causes.event_id = events.causation_id
        ORDER BY root, events.sequence"""
    )
    found: dict[int, list[Link]] = {root: [] for root, _, _ in roots}
    for root, *row in rows:
        found[root].append(link(row))
    return found


def link(row: Sequence[Any]) -> Link:
    sequence, recorded_at, kind, entity, payload, cause = row
    return Link(
        sequence=sequence,
        at=at(recorded_at),
        kind=kind,
        entity=entity,
        text=fields_of(msgspec.json.decode(payload)),
        cause=cause,
    )


def at(text: str) -> datetime:
    """A time as SQL answers it."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _requeued(history: History, outages: Sequence[Outage]) -> dict[int, int]:
    listed = ", ".join(str(outage.id) for outage in outages)
    rows = history.rows(
        f"""
        SELECT failures.id, count(*) FROM failures JOIN task_attempts USING (worker_id, incarnation)
        WHERE failures.id IN ({listed}) AND requeue_reason = 'worker_failed'
        GROUP BY failures.id ORDER BY failures.id"""
    )
    return {row[0]: row[1] for row in rows}


def task_cases(history: History, within: str) -> list[Case]:
    """Tasks that were lost or quarantined, or needed most attempts."""
    worst_tasks = history.rows(
        f"""
        SELECT task_id, command, verdict, attempts, completed_at FROM tasks
        WHERE synthetic IS NULL AND verdict IS NOT NULL AND {within}
            AND (verdict IN ('crashed', 'quarantined') OR attempts > 2)
        ORDER BY verdict IN ('crashed', 'quarantined') DESC, attempts DESC, completed_at LIMIT {TASKS_MAX}"""
    )
    if not worst_tasks:
        return []
    listed = ", ".join(quoted(row[0]) for row in worst_tasks)
    chains: dict[str, list[Link]] = defaultdict(list)
    for row in history.rows(
        f"""
        SELECT events.sequence, events.recorded_at, events.kind, coalesce(events.payload->>'$.worker_id', ''),
            events.payload, causes.sequence, events.entity
        FROM events LEFT JOIN events AS causes ON causes.event_id = events.causation_id
        WHERE events.entity IN ({listed}) AND starts_with(events.kind, 'task.') ORDER BY events.sequence"""
    ):
        chains[row[6]].append(link(row[:6]))
    made = []
    for task_id, command, verdict, attempts, completed_at in worst_tasks:
        shown, left_out = _shortened(chains[task_id])
        made.append(
            Case(
                title=f"{command or task_id}: {verdict} after {attempts} attempt{'' if attempts == 1 else 's'}, "
                f"at {moment(at(completed_at))}",
                chain=shown,
                left_out=left_out,
                note=task_id,
            )
        )
    return made
