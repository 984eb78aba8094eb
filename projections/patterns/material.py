"""What a search looks at, read from the history by SQL: real events alone, nothing that was made up.

The searches are functions of this and nothing else.
"""

from typing import NamedTuple

from projections.asking import History
from projections.pattern_views import SLOT_S
from projections.window import Window

HOUR_SLOTS = 3600 // SLOT_S
MINUTE_SLOTS = 60 // SLOT_S
LIVES_MAX = 5_000
FAILURES_MAX = 50_000
PERIODS_MAX = 21
COMMAND_SECONDS_MIN = 0.01
"""A test that kills at once has run for so long all the same, or no chance at all would be left for it."""


class Onset(NamedTuple):
    """A failure of a worker that was well before."""

    sequence: int
    worker_id: str
    at_us: int
    recovery_s: float | None
    lost: bool
    """It was not brought back from this one."""
    host: str | None = None

    @property
    def slot(self) -> int:
        return self.at_us // (SLOT_S * 1_000_000)

    @property
    def hour(self) -> int:
        return self.slot // HOUR_SLOTS


class Death(NamedTuple):
    """A worker failed while it ran this."""

    failure: int
    worker_id: str
    command: str


class Life(NamedTuple):
    """A worker from its registration to its failure, cut into minutes from the end; the rest is left out."""

    failure: int
    minutes: int


class Sign(NamedTuple):
    """`minute` 0 is the one before the failure."""

    failure: int
    minute: int
    sequence: int
    symbol: str


class Period(NamedTuple):
    """A policy, while it was in force."""

    sequence: int
    began_us: int
    ended_us: int
    slots: int
    """In which the farm was up."""
    changes: str
    actor: str


class Material(NamedTuple):
    active: dict[int, int]
    """For each hour since the epoch, in how many of its slots the farm was up. By whole minutes."""
    onsets: list[Onset]
    deaths: list[Death]
    commands: int
    """How many were run at all."""
    shares: dict[tuple[str, str], float]
    """Of the time in which a worker ran anything, the share in which it ran that command. Only of those that count."""
    lives: list[Life]
    signs: list[Sign]
    periods: list[Period]


def _minutes_sql(window: Window) -> str:
    """The minutes in which the farm was up: something happened, or somebody was heard."""
    return f"""(
    SELECT epoch_us(recorded_at) // 60000000 AS minute FROM events WHERE {window.holds("recorded_at")}
    UNION
    SELECT epoch_us(recorded_at) // 60000000 FROM heartbeat_samples WHERE {window.holds("recorded_at")})"""


def _shares_sql(window: Window, support: int) -> str:
    """The union of the attempts of a worker is what it was busy: gaps and islands."""
    least = int(COMMAND_SECONDS_MIN * 1_000_000)
    return f"""
    WITH deaths AS (FROM deaths_under_tests WHERE {window.holds("failed_at")}),
        suspects AS (SELECT command FROM deaths GROUP BY command HAVING count(DISTINCT id) >= {support}),
        spans AS (SELECT attempts.worker_id, command,
                epoch_us(coalesce(attempts.started_at, attempts.assigned_at)) AS first,
                first + greatest({least}, coalesce(epoch_us(attempts.ended_at) - first, 0),
                    coalesce(attempts.duration_s, 0) * 1e6)::BIGINT AS last
            FROM task_attempts AS attempts JOIN tasks ON tasks.task_id = attempts.task_id
            WHERE attempts.synthetic IS NULL AND command IS NOT NULL AND {window.holds("attempts.assigned_at")}
                AND attempts.worker_id IN (SELECT worker_id FROM deaths)
                AND (attempts.started_at IS NOT NULL OR (attempts.task_id, attempts.attempt, attempts.worker_id)
                    IN (SELECT (task_id, attempt, worker_id) FROM deaths))),
        covered AS (SELECT *, max(last) OVER (PARTITION BY worker_id ORDER BY first, last
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM spans),
        busy AS (SELECT worker_id, sum(greatest(0, last - greatest(first, coalesce(before, first)))) AS us
            FROM covered GROUP BY worker_id)
    SELECT worker_id, command, least(1, sum(last - first) / any_value(us)) AS share
    FROM spans JOIN busy USING (worker_id)
    WHERE command IN (SELECT command FROM suspects)
    GROUP BY worker_id, command ORDER BY worker_id, command"""


def _periods_sql(window: Window) -> str:
    return f"""
    WITH periods AS (
        SELECT sequence, greatest(changed_at, since) AS began_at,
            least(until, coalesce(lead(changed_at) OVER (ORDER BY sequence), until)) AS ended_at,
            coalesce(changes::VARCHAR, '') AS changes, actor
        FROM policy_history, (SELECT min(recorded_at) AS since,
            max(recorded_at) + INTERVAL 1 MICROSECOND AS until FROM events WHERE {window.holds("recorded_at")})
        WHERE policy_history.synthetic IS NULL)
    SELECT periods.sequence, epoch_us(began_at), epoch_us(ended_at),
        count(*) * {MINUTE_SLOTS} AS slots, changes, actor
    FROM periods JOIN {_minutes_sql(window)} AS minutes
        ON minute >= epoch_us(began_at) // 60000000 AND minute < greatest(
            epoch_us(ended_at) // 60000000, epoch_us(began_at) // 60000000 + 1)
    WHERE began_at < ended_at
    GROUP BY ALL ORDER BY periods.sequence DESC LIMIT {PERIODS_MAX}"""


def read(history: History, window: Window, support: int) -> Material:
    """What is needed if anything is to be found: `support` is the least number of failures that may be a pattern.

    Raises:
        QueryError: the history cannot be asked, or there is too much in that window.
    """
    within = window.holds("failed_at")
    hours = history.rows(
        f"SELECT minute // 60 AS hour, count(*) * {MINUTE_SLOTS} AS slots FROM {_minutes_sql(window)} "
        f"GROUP BY hour ORDER BY hour"
    )
    onsets = history.rows(
        f"SELECT id, worker_id, epoch_us(failed_at) AS at, recovery_s, "
        f"coalesce(resolution IN ('permanent', 'failed_again'), false) AS lost, host "
        f"FROM failure_onsets WHERE {within} ORDER BY id DESC LIMIT {FAILURES_MAX}"
    )
    if len(onsets) < support:
        return Material({row[0]: row[1] for row in hours}, [Onset(*row) for row in onsets], [], 0, {}, [], [], [])
    deaths = history.rows(
        f"SELECT DISTINCT id, worker_id, command FROM deaths_under_tests WHERE {within} "
        f"ORDER BY id DESC, command LIMIT {FAILURES_MAX}"
    )
    [[commands]] = history.rows(
        f"SELECT count(DISTINCT command) FROM task_attempts JOIN tasks USING (task_id) "
        f"WHERE {window.holds('assigned_at')}"
    )
    shares = history.rows(_shares_sql(window, support))
    lives = history.rows(
        f"SELECT id, minutes FROM lives_to_failures WHERE {within} AND minutes >= 2 ORDER BY id DESC LIMIT {LIVES_MAX}"
    )
    since = min((life[0] for life in lives), default=0)
    signs = history.rows(
        f"SELECT id, minute, sequence, symbol FROM signs_before_failures "
        f"WHERE {within} AND id >= {since} ORDER BY id, sequence"
    )
    known = {life[0] for life in lives}
    periods = history.rows(_periods_sql(window))
    return Material(
        {row[0]: row[1] for row in hours},
        [Onset(*row) for row in reversed(onsets)],
        [Death(*row) for row in deaths],
        commands,
        {(worker_id, command): share for worker_id, command, share in shares},
        [Life(*row) for row in lives],
        [Sign(*row) for row in signs if row[0] in known],
        [Period(*row) for row in reversed(periods)],
    )
