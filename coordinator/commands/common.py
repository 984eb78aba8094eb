"""What the commands share: how they are told where the system is, and how they print."""

import difflib
import os
import shutil
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from coordinator.faults import UsageFault

NatsUrl = Annotated[
    str | None,
    typer.Option(
        "--nats-url", help="The system's broker; else RESURGAM_NATS_URL, else what runs in this folder.", metavar="URL"
    ),
]
Namespace = Annotated[str | None, typer.Option("--namespace", help="The system's name on that broker.")]
StateDir = Annotated[Path, typer.Option("--state-dir", help="The folder of a system that runs, or ran, here.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]

STATE_DIR = Path(".resurgam")


def command_app(help_text: str | None = None) -> typer.Typer:
    """A typer application that leaves errors to `coordinator.faults`."""
    return typer.Typer(
        help=help_text,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def pairs(flag: str, given: Iterable[str]) -> dict[str, str]:
    """`["a=1", "b=2"]` as a dictionary.

    Raises:
        UsageFault: one of them is no pair.
    """
    found: dict[str, str] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise UsageFault(f"{flag} {text!r}: it takes KEY=VALUE, such as {flag} os=linux")
        found[key] = value
    return found


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known."""
    names = list(known)
    near = difflib.get_close_matches(given, names, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"


def echo_json(content: object) -> None:
    """Prints it for programs, indented for people who look."""
    typer.echo(msgspec.json.format(msgspec.json.encode(content)).decode())


def actor() -> str:
    """Who gives the orders, as far as this machine knows: `alice@build7`."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def interpreter(given: str | None) -> str:
    """The path of a suite's interpreter: the one given, else the active environment's, else our own.

    Raises:
        UsageFault: there is no such program.
    """
    if given is not None:
        found = shutil.which(given)
        if found is None:
            raise UsageFault(f"--python {given!r}: there is no such program")
        return str(Path(found).absolute())
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        home = os.environ.get(variable)
        if home and (Path(home) / "bin" / "python").exists():
            return str(Path(home) / "bin" / "python")
    return sys.executable
