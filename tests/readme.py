"""The commands of a document, read and run as a reader would: from top to bottom, in a copy of the repository.

Every fenced ``console`` block carries a comment on the line above it that says what the tests do with it:

    <!-- test: run -->                     every command must exit with 0
    <!-- test: run exit=1 -->              the last command must exit with 1, those before it with 0
    <!-- test: skip because … -->          not run, and why

In a block, lines that start with ``$ `` are commands, a backslash at the end continues one on the next line, and the
rest is what a reader would see.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SHELL_LANGUAGES = frozenset({"bash", "sh", "shell", "shell-session", "zsh"})

_FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w-]*)")
_DIRECTIVE = re.compile(r"^<!--\s*test:\s*(?P<what>.*?)\s*-->$")
_RUN = re.compile(r"run(?: exit=(?P<code>\d{1,3}))?")
_SKIP = re.compile(r"skip because (?P<reason>\S.*)")

# What must not be copied: large, or another's.
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".tmp", ".resurgam", "__pycache__", ".*_cache", ".hypothesis", "build", "*.egg-info", "*.duckdb*"
)


class DocumentError(Exception):
    """The document cannot be tested as it stands."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line


class CommandFailed(AssertionError):
    """A command did not end as the document says."""


@dataclass(frozen=True)
class Block:
    """A console block. `exit_code` is None when it is not run; `line` is that of its opening fence."""

    line: int
    commands: tuple[str, ...]
    exit_code: int | None
    skip_reason: str = ""


def parse(text: str) -> list[Block]:
    """The console blocks of a Markdown text, in order.

    Raises:
        DocumentError: a console block without a directive or without a command, a directive that is misspelt or has
            no console block below it, or a block in the language of a shell, which would go untested.
    """
    blocks: list[Block] = []
    directive: tuple[int, str] | None = None
    lines = enumerate(text.splitlines(), start=1)
    for number, line in lines:
        stripped = line.strip()
        if found := _DIRECTIVE.match(stripped):
            if directive:
                raise DocumentError(directive[0], "a test comment without a console block below it")
            directive = number, found["what"]
        elif fence := _FENCE.match(stripped):
            body = list(_body(lines, number, fence["fence"]))
            if fence["language"] in SHELL_LANGUAGES:
                raise DocumentError(number, f"a block in {fence['language']} is not tested, make it console")
            if fence["language"] == "console":
                blocks.append(_block(number, body, directive[1] if directive else None))
                directive = None
        if stripped and directive and directive[0] != number:
            raise DocumentError(directive[0], "a test comment without a console block below it")
    if directive:
        raise DocumentError(directive[0], "a test comment without a console block below it")
    return blocks


def _body(lines: Iterator[tuple[int, str]], opened_at: int, fence: str) -> Iterator[str]:
    for _, line in lines:
        if line.strip() and not line.strip().strip(fence[0]) and len(line.strip()) >= len(fence):
            return
        yield line.strip()
    raise DocumentError(opened_at, "a block that is never closed")


def _block(line: int, body: Iterable[str], directive: str | None) -> Block:
    commands = _commands(body)
    if directive is None:
        raise DocumentError(line, "a console block without a comment above it that says how to test it")
    if not commands:
        raise DocumentError(line, "a console block without a command; commands start with '$ '")
    if run := _RUN.fullmatch(directive):
        return Block(line, commands, int(run["code"] or 0))
    if skip := _SKIP.fullmatch(directive):
        return Block(line, commands, None, skip["reason"])
    raise DocumentError(line, f"cannot read {directive!r}: write 'run', 'run exit=N' or 'skip because …'")


def _commands(body: Iterable[str]) -> tuple[str, ...]:
    commands: list[str] = []
    open_ended = False
    for line in body:
        if open_ended:
            commands[-1] += "\n" + line.removeprefix("> ")
        elif line.startswith("$ "):
            commands.append(line.removeprefix("$ "))
        else:
            continue
        open_ended = commands[-1].endswith("\\")
    return tuple(commands)


def copy_repository(root: Path, to: Path) -> Path:
    """A copy without what tools left behind, sharing the virtual environment that runs the tests."""
    shutil.copytree(root, to, ignore=_LEFT_OUT)
    if sys.prefix != sys.base_prefix:
        (to / ".venv").symlink_to(sys.prefix)
    return to


def environment(home: Path) -> dict[str, str]:
    """What a reader's shell would have: our commands on the path, and nothing of the run of these tests."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "COLUMNS": "100",
    }


def run(block: Block, cwd: Path, env: dict[str, str], timeout_s: float) -> str:
    """Run the commands of a block in one shell and return what they wrote.

    Raises:
        CommandFailed: a command ended with another code than the document promises, or the block took too long.
    """
    assert block.exit_code is not None
    with tempfile.TemporaryFile() as output_file, tempfile.TemporaryFile() as progress_file:
        progress = progress_file.fileno()
        script = "\n".join(f"echo {number} >&{progress}\n{command}" for number, command in enumerate(block.commands))
        process = subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-c", f"{script}\n"],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output_file,
            stderr=subprocess.STDOUT,
            pass_fds=[progress],
            start_new_session=True,
        )
        try:
            exit_code: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            exit_code = None
        finally:
            _end(process)
        output = _read(output_file)
        reached = int(_read(progress_file).split()[-1])
    where = f"line {block.line}: `{block.commands[reached]}`"
    wanted = block.exit_code if reached == len(block.commands) - 1 else 0
    if exit_code is None:
        raise CommandFailed(f"{where} had not ended after {timeout_s:g} s:\n{output}")
    if exit_code != wanted:
        raise CommandFailed(f"{where} exited with {exit_code}, not {wanted}:\n{output}")
    return output


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Nothing that a block started outlives it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
