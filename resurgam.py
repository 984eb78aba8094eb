"""The command line: finds the subcommand, imports that one and nothing else, and hands over."""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn


class Command(NamedTuple):
    module: str
    """Holds the typer application."""
    application: str
    summary: str


COMMANDS = {
    "run": Command("coordinator.run", "app", "run a pytest suite on workers of its own, in spite of whatever happens"),
    "demo": Command("coordinator.demo", "app", "watch a suite survive what is done to its workers"),
    "coordinator": Command("coordinator.__main__", "app", "the service that leads: broker, recovery, history, HTTP"),
    "cluster": Command("coordinator.commands.cluster", "app", "a cluster of brokers on this machine, to try one out"),
    "worker": Command("worker.__main__", "app", "a worker that runs tasks for a coordinator"),
    "projections": Command("projections.__main__", "app", "the consumer that keeps the history in DuckDB"),
    "submit": Command("coordinator.commands.submit", "app", "hand a command or a suite to a running system"),
    "workers": Command("coordinator.commands.show", "workers_app", "list the workers"),
    "health": Command("coordinator.commands.health", "app", "who is well, who is not, and what is done about it"),
    "pause": Command("coordinator.commands.orders", "pause_app", "halt recovery, and nothing else"),
    "resume": Command("coordinator.commands.orders", "resume_app", "let recovery go on"),
    "drain": Command("coordinator.commands.orders", "drain_app", "let workers finish and end, or begin anew"),
    "cordon": Command("coordinator.commands.orders", "cordon_app", "give workers nothing new"),
    "uncordon": Command("coordinator.commands.orders", "uncordon_app", "give workers work again"),
    "readmit": Command("coordinator.commands.orders", "readmit_app", "take back workers that were given up"),
    "cancel": Command("coordinator.commands.orders", "cancel_app", "cancel runs or tasks"),
    "policy": Command("coordinator.commands.policy", "app", "the rules in force, and changing them while it runs"),
    "tasks": Command("coordinator.commands.show", "tasks_app", "list the tasks"),
    "quarantine": Command(
        "coordinator.commands.quarantine", "app", "work that killed its workers: list it, release it"
    ),
    "incidents": Command("coordinator.commands.incidents", "app", "what befell the system as a whole: list, show"),
    "events": Command("coordinator.commands.events", "app", "print the log, or follow it"),
    "sql": Command("coordinator.commands.sql", "app", "ask the history in SQL"),
    "metrics": Command("coordinator.commands.metrics", "app", "how well the system recovers, against its targets"),
    "patterns": Command("coordinator.commands.patterns", "app", "what the failures have in common, beyond chance"),
    "report": Command("coordinator.commands.report", "app", "what happened, how well it went, and what was worst"),
    "replay": Command("coordinator.commands.replay", "app", "what happened, why, and what was known at the time"),
    "check": Command("coordinator.commands.check", "app", "check that the log keeps every promise"),
    "inject": Command("coordinator.commands.inject", "app", "write made-up failures, to see what is done about them"),
    "simulate": Command("tests.simulation.__main__", "app", "run it all in virtual time, under faults from a seed"),
}

USAGE = "usage: resurgam COMMAND [OPTION...]     'resurgam COMMAND --help' tells more about one"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview())
        sys.exit(0 if given else 2)
    if given[0] in ("-V", "--version"):
        from coordinator.about import version

        print(f"resurgam {version()}")
        sys.exit(0)
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        print(f"resurgam: {_unknown(name)}", file=sys.stderr)
        sys.exit(2)
    from coordinator.faults import run_at_the_door

    run_at_the_door(lambda: _hand_over(name, rest))


def _hand_over(name: str, rest: list[str]) -> None:
    import importlib

    command = COMMANDS[name]
    if name not in ("coordinator", "worker", "projections"):
        # Services log; commands answer. They configure their logs themselves.
        import logging

        from coordinator.logs import configure_logs

        configure_logs(logging.ERROR)
    if name in ("worker", "projections"):
        rest = with_address(rest)
    if name == "simulate":
        _find_tests()
    application: Any = getattr(importlib.import_module(command.module), command.application)
    application(args=rest, prog_name=f"resurgam {name}")


def _find_tests() -> None:
    """Makes the tests beside this file importable: the simulator is one of them, and tests are not installed.

    Raises:
        UsageFault: this is no checkout.
    """
    from pathlib import Path

    from coordinator.faults import UsageFault

    checkout = Path(__file__).resolve().parent
    if not (checkout / "tests" / "simulation").is_dir():
        raise UsageFault(
            "the simulator is part of the tests, which are not installed: get the sources and run 'make simulate' there"
        )
    # In front, since many a distribution brings a package of this name along by mistake.
    sys.path.insert(0, str(checkout))


def with_address(arguments: list[str]) -> list[str]:
    """The services want an address; one that is not given is that of the system of this folder, if one runs here."""
    import os
    from pathlib import Path

    from coordinator.endpoint import is_alive, read_endpoint

    given = {argument.partition("=")[0] for argument in arguments}
    endpoint = read_endpoint(Path(".resurgam"))
    if given & {"--nats-url", "--help"} or os.environ.get("RESURGAM_NATS_URL"):
        return arguments
    if endpoint is None or not is_alive(endpoint.pid):
        return arguments
    found = ["--nats-url", endpoint.nats_url]
    if "--namespace" not in given:
        found += ["--namespace", endpoint.namespace]
    if {"verify", "rebuild"} & set(arguments) and "--db-path" not in given:
        found += ["--db-path", endpoint.db_path]
    return [*found, *arguments]


def overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([USAGE, "", *lines])


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else "'resurgam --help' lists them"
    if name.startswith("-"):
        return f"there is no option {name!r} before the command; 'resurgam --help' lists the commands"
    return f"there is no command {name!r}; {hint}"


if __name__ == "__main__":
    main()
