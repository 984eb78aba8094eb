"""Whose matter an error is, as the exit code says it, and the one door where errors become a sentence."""

import sys
from collections.abc import Callable
from typing import NoReturn

USAGE, BROKER, FILE, INTERRUPTED = 2, 3, 4, 130


class Fault(Exception):
    """An error that a person can do something about. Its text is one sentence: what, which value, what to do."""

    exit_code = 1


class UsageFault(Fault):
    """A flag, a setting, or something on this machine that the command line asked for in vain."""

    exit_code = USAGE


class BrokerFault(Fault):
    """There is no broker, or it does not work."""

    exit_code = BROKER


class FileFault(Fault):
    """A file was refused: of another version, of another program, or held by somebody else."""

    exit_code = FILE


def exit_code_of(error: BaseException) -> int | None:
    """The exit code of an error that is somebody's matter; None for one that is a defect of this program.

    Other packages have fault classes of their own; an `exit_code` on the class is what they share.
    """
    from events.errors import LogError

    code = getattr(type(error), "exit_code", None)
    if isinstance(code, int) and isinstance(error, Exception):
        return code
    return BROKER if isinstance(error, LogError) else None


def sentence_of(error: BaseException) -> str:
    """The text to show; a group of errors (from a task group) speaks through its first that has an exit code."""
    return str(error) or type(error).__name__


def fault_in(error: BaseException) -> BaseException | None:
    """The first error with an exit code in `error` itself or in the group that it is."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for one in error.exceptions if (found := fault_in(one)) is not None), None)
    return error if exit_code_of(error) is not None else None


def run_at_the_door(command: Callable[[], object]) -> NoReturn:
    """Runs a whole command line program: a fault ends it with one sentence on stderr and its exit code.

    What is not a fault is a defect, and keeps its traceback.
    """
    import typer

    try:
        command()
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # `resurgam events | head`: the reader has seen enough. Python must not complain about stdout at exit.
        sys.stderr.close()
        sys.exit(0)
    except BaseException as error:
        fault = fault_in(error)
        if fault is None:
            raise
        sys.stderr.write(f"resurgam: {sentence_of(fault)}\n")
        sys.exit(exit_code_of(fault))
    sys.exit(0)
