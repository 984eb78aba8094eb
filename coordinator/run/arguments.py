"""What pytest's own arguments mean for a run that is spread over workers."""

from typing import NamedTuple

from coordinator.faults import UsageFault

INTERACTIVE = ("--pdb", "--trace", "--pdbcls")
DISTRIBUTED = ("-n", "--numprocesses", "--dist", "--tx", "-d")


class PytestArguments(NamedTuple):
    """The arguments for the warm pytest processes, and what was taken out of them for the run as a whole."""

    args: tuple[str, ...]
    failures_max: int | None
    """`-x` and `--maxfail`: after so many failures the rest is cancelled."""
    junit_path: str | None
    verbose: bool


def understand(given: tuple[str, ...]) -> PytestArguments:
    """Reads what concerns the run as a whole; everything else goes to pytest as it is.

    Raises:
        UsageFault: an argument that cannot work on workers.
    """
    kept: list[str] = []
    failures_max: int | None = None
    junit_path: str | None = None
    verbose = False
    rest = iter(given)
    for argument in rest:
        name, _, value = argument.partition("=")
        if name in INTERACTIVE:
            raise UsageFault(f"{argument} needs a terminal, which workers have not: run pytest itself for it")
        if name in DISTRIBUTED or (argument.startswith("-n") and argument[2:].isdigit()):
            raise UsageFault(f"{argument} is pytest-xdist's; here it is 'resurgam run --workers N -- ...'")
        if argument in ("-x", "--exitfirst"):
            failures_max = 1
        elif name == "--maxfail":
            failures_max = _count(value or next(rest, ""))
        elif name in ("--junitxml", "--junit-xml"):
            junit_path = value or next(rest, None)
        else:
            verbose = verbose or argument in ("-v", "-vv", "-vvv", "--verbose")
            kept.append(argument)
    return PytestArguments(tuple(kept), failures_max, junit_path, verbose)


def _count(text: str) -> int | None:
    if not text.isdigit():
        raise UsageFault(f"--maxfail {text!r}: it takes a number, such as --maxfail=3")
    return int(text) or None
