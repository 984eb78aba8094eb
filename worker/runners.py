"""Kinds of work that other distributions bring along (entry point group `resurgam.runners`).

A runner makes a command of what it is given, and says what the end of that command means. The command runs as any
other does: in a slot, beneath a keeper, with its time limit and its excerpt of output. The runner's own two methods are
called in the agent, between two heartbeats: they compute, and wait for nothing.
"""

from collections.abc import Mapping
from functools import cache
from typing import Literal, NamedTuple, Protocol

from events.plugins import PluginError, load
from worker.jobs import CommandJob, Outcome

GROUP = "resurgam.runners"


class Command(NamedTuple):
    argv: tuple[str, ...]
    environment: Mapping[str, str] = {}
    """On top of what the work asks for."""


class Verdict(NamedTuple):
    outcome: Literal["passed", "failed", "error", "skipped"]
    message: str = ""


class Runner(Protocol):
    """What the entry point names: a class of this form, of which each agent makes one, without arguments."""

    def command(self, arguments: tuple[str, ...], cwd: str) -> Command:
        """What is to be run in that folder. Whatever it raises means that the work cannot be begun here."""

    def verdict(self, exit_code: int, output: str) -> Verdict:
        """What it means that the command has ended by itself with that code. `output`: an excerpt of what it wrote to
        stdout and stderr, the beginning and the end where it was long."""


def command_of(job: CommandJob) -> Command:
    """The command to be run for a job.

    Raises:
        ValueError: there is no such runner here, or it makes no command of the job.
    """
    if job.kind is None:
        return Command(job.argv)
    runner = _runner(job.kind)
    try:
        made = runner.command(job.argv, job.cwd)
        return Command(tuple(map(str, made.argv)), dict(made.environment))
    except Exception as error:
        raise ValueError(f"runner {job.kind!r} makes no command of it: {type(error).__name__}: {error}") from error


def verdict_of(kind: str, exit_code: int, output: str) -> tuple[Outcome, str]:
    """What its runner says of the end of a job; an error if it fails to."""
    try:
        outcome, message = _runner(kind).verdict(exit_code, output)
        return Outcome(outcome), str(message)
    except Exception as error:  # noqa: BLE001 - whatever somebody else's code does, the job has ended
        return Outcome.error, f"runner {kind!r} does not say what exit code {exit_code} means: {error!r}"


@cache
def _runner(name: str) -> Runner:
    """One for the whole agent.

    Raises:
        ValueError: there is none, or it cannot be made.
    """
    try:
        made: Runner = load(GROUP, name)()
    except PluginError as error:
        raise ValueError(f"this worker has no runner {name!r}: {error}") from error
    except Exception as error:
        raise ValueError(f"runner {name!r} cannot be made: {type(error).__name__}: {error}") from error
    return made
