"""What a task asks a worker to do. One type for each runner; the tag is the runner's name."""

import hashlib
from typing import Annotated

from msgspec import Meta, Struct

from events.identity import Id

Path = Annotated[str, Meta(min_length=1, max_length=4096)]


class Work(Struct, frozen=True, kw_only=True, tag_field="runner", omit_defaults=True, gc=False):
    """Base of all work."""


class Suite(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A pytest suite as its user would start it: `python -m pytest *args` in `cwd`."""

    python: Path
    cwd: Path
    args: tuple[str, ...] = ()


class PytestWork(Work, tag="pytest", frozen=True, kw_only=True):
    """One test of a suite.

    `occurrence` tells apart tests of one node id, which pytest allows: 0 is the first in collection order.
    """

    suite: Suite
    node_id: Annotated[str, Meta(min_length=1, max_length=8192)]
    occurrence: Annotated[int, Meta(ge=0)] = 0


class CommandWork(Work, tag="command", frozen=True, kw_only=True):
    """One process; exit code 0 is a pass. `environment` is added to the worker's own.

    With `kind` it is work for a runner of that name, which makes a command of `argv` and says what its end means (entry
    point group `resurgam.runners`)."""

    argv: Annotated[tuple[str, ...], Meta(min_length=1, max_length=4096)]
    cwd: Path
    environment: dict[str, str] = {}
    kind: Id | None = None


AnyWork = PytestWork | CommandWork


def name_of(work: AnyWork) -> str:
    """What people call it."""
    return " ".join(work.argv) if isinstance(work, CommandWork) else work.node_id


def fingerprint(work: AnyWork) -> str:
    """The same for the same work in another run: for a test, the root of its suite and its node id; for a command, its
    arguments and its folder. 16 hex digits of BLAKE2b."""
    if isinstance(work, CommandWork):
        parts = (work.kind or "command", work.cwd, *work.argv)
    else:
        parts = ("pytest", work.suite.cwd, work.node_id, str(work.occurrence))
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
