"""What is done about each kind of error: the table of the design, as `decide` reads it.

**Retry.** `always`: within its budget, since the error says nothing of the test. `asked`: only as often as somebody has
asked for it (`verdict_retries` of the policy or the task, none unless given): an assertion that failed, a crash, an
overrun time limit are verdicts on the test, and whoever grants verdict retries means just these. `never`: not even
then. A permission that was denied is denied again, and credentials that are tried over and over lock accounts.

**Strategy** is the first rung against a worker's failure of that kind that needs no launcher; for tasks, what becomes
of the attempt; for the rest, who acts.
"""

from typing import Literal, NamedTuple

from events.failures import AWAIT, RESTART, ErrorCode
from events.task import OUTCOME_CODES, Outcome

Retry = Literal["always", "asked", "never"]
Budget = Literal["recovery_attempts", "infrastructure", "verdict", "none"]
Blame = Literal["worker", "task", "nobody"]


class Treatment(NamedTuple):
    strategy: str
    budget: Budget
    """What pays for trying again: a worker's attempts to be brought back, or one of the two budgets of a task."""
    blame: Blame
    retry: Retry


TAXONOMY: dict[ErrorCode, Treatment] = {
    "connection": Treatment(AWAIT, "infrastructure", "nobody", "always"),
    "timeout": Treatment(RESTART, "recovery_attempts", "worker", "always"),
    "worker_exit": Treatment(RESTART, "recovery_attempts", "worker", "always"),
    "worker_resource": Treatment(RESTART, "infrastructure", "worker", "always"),
    "task_error": Treatment("verdict", "verdict", "task", "asked"),
    "task_crash": Treatment("verdict", "verdict", "task", "asked"),
    "task_timeout": Treatment("verdict", "verdict", "task", "asked"),
    "task_resource": Treatment("verdict", "verdict", "task", "asked"),
    "database": Treatment("rebuild", "none", "nobody", "always"),
    "coordinator": Treatment("failover", "none", "nobody", "always"),
    "broker": Treatment("broker_restart", "none", "nobody", "always"),
    "security": Treatment("verdict", "none", "nobody", "never"),
    "system_resource": Treatment("operator", "none", "nobody", "never"),
    # Conservative: a worker is waited for, a task is not tried again unless somebody asks for it; nobody is to blame.
    "unknown": Treatment(AWAIT, "verdict", "nobody", "asked"),
}


def code_of(outcome: Outcome, said: ErrorCode | None) -> ErrorCode:
    """Of an attempt that did not end well: what its worker says of it, or what the outcome says."""
    return said or OUTCOME_CODES.get(outcome, "unknown")
