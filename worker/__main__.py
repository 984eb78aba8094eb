"""`python -m worker`: a worker, under its supervisor, until it is told to stop."""

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from events.work import Suite

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

SLOTS_MAX = 1024
LEVELS = ("debug", "info", "warning", "error")


@app.command()
def worker(
    nats_url: Annotated[str, typer.Option(envvar="RESURGAM_NATS_URL", help="Where the broker listens.")],
    worker_id: Annotated[
        str, typer.Option(help="Letters, digits, '-' and '_', at most 64; the host's name and a suffix by default.")
    ] = "",
    slots: Annotated[int, typer.Option(help="Tasks at one time; 0: as many as there are processors.")] = 0,
    label: Annotated[list[str] | None, typer.Option(help="key=value that tasks may require; repeatable.")] = None,
    namespace: Annotated[str, typer.Option(help="The system on that broker.")] = "resurgam",
    drain_timeout: Annotated[float, typer.Option(help="Seconds that running tasks have left after SIGTERM.")] = 60.0,
    warm_suite: Annotated[
        str, typer.Option(help='A pytest suite to start at once, as JSON: {"python":…,"cwd":…,"args":[…]}.')
    ] = "",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Runs tasks for a coordinator. SIGTERM drains it, a second one ends it at once.

    Ends with 0 when it stopped in order, 2 for a wrong option or credentials that cannot be read, 3 when the broker
    cannot be reached, 4 when another worker took over its id, 5 when the broker refuses its credentials, 1 otherwise.
    """
    if log_level not in LEVELS:
        _refuse(f"--log-level {log_level!r} is none of {', '.join(LEVELS)}")
    if not 0 <= slots <= SLOTS_MAX:
        _refuse(f"--slots {slots} is out of range: 1 to {SLOTS_MAX}, or 0 for as many as there are processors")
    if not 0 <= drain_timeout < float("inf"):
        _refuse(f"--drain-timeout {drain_timeout:g} must be a number of seconds, 0 or more")
    from events.identity import as_id, is_id, new_id

    if not worker_id:
        worker_id = f"{as_id(socket.gethostname())[:56].strip('-')}-{new_id()[-6:]}"
    for name, value in (("--worker-id", worker_id), ("--namespace", namespace)):
        if not is_id(value):
            _refuse(f"{name} {value!r} is no valid name: use 1 to 64 letters, digits, '-' and '_'")
    from worker.options import Options

    options = Options(
        nats_url=nats_url,
        worker_id=worker_id,
        slots=slots or len(os.sched_getaffinity(0)),
        labels=_labels(label or []),
        namespace=namespace,
        drain_timeout_s=drain_timeout,
        warm_suite=_suite(warm_suite) if warm_suite else None,
    )
    _configure_logging(log_level)
    from worker.supervisor import supervise

    ending = supervise(options)
    if ending.sentence:
        print(f"worker {worker_id}: {ending.sentence}", file=sys.stderr)
    raise typer.Exit(ending.code)


def _labels(pairs: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            _refuse(f"--label {pair!r} is not of the form key=value")
        labels[key.strip()] = value.strip()
    return labels


def _suite(text: str) -> "Suite":
    import msgspec

    from events import work

    try:
        suite = msgspec.json.decode(text, type=work.Suite)
    except msgspec.DecodeError as error:
        _refuse(f'--warm-suite is not {{"python": …, "cwd": …, "args": […]}}: {error}')
    if not Path(suite.cwd).is_dir():
        _refuse(f"--warm-suite: there is no directory {suite.cwd!r}")
    return suite


def _configure_logging(level: str) -> None:
    import logging

    import structlog

    console = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if console else structlog.processors.KeyValueRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _refuse(sentence: str) -> NoReturn:
    print(f"worker: {sentence}", file=sys.stderr)
    raise typer.Exit(2)


def main() -> None:
    try:
        code = app(standalone_mode=False)
    except Exception as error:
        # The framework's own complaints about the command line, which it would print as a page.
        complaint = getattr(error, "format_message", None)
        if complaint is None:
            raise
        print(f"worker: {complaint()} (see --help)", file=sys.stderr)
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
