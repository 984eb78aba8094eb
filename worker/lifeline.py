"""What the kernel can testify of a worker: whether anything of it is left.

A lifeline is a name in the kernel's abstract socket namespace (unix(7), Linux). The supervisor binds it, its agents and
the keepers of their tasks inherit it, and the kernel forgets it when the last of them is gone, by whatever death: a
keeper goes only after all that it keeps. Names are not used twice. So a name that was held and is not held any more is
proof that nothing of that worker runs, to everybody in the same network namespace.
"""

import hashlib
import os
import secrets
import socket
from pathlib import Path
from typing import NamedTuple

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NETWORK_NAMESPACE = Path("/proc/self/ns/net")


class Lifeline(NamedTuple):
    machine: str
    """Of a boot and a network namespace: within it names mean the same to everybody."""
    name: str


class HeldLifeline:
    """The holder's end. Who shall hold it as well inherits `fd`."""

    def __init__(self, lifeline: Lifeline, held: socket.socket) -> None:
        self.lifeline = lifeline
        self._held = held

    @property
    def fd(self) -> int:
        return self._held.fileno()

    def close(self) -> None:
        """Lets go. Others may hold it still."""
        self._held.close()


def this_machine() -> str | None:
    """None where the kernel tells neither, or where there are no abstract names."""
    try:
        text = f"{BOOT_ID.read_text().strip()} {NETWORK_NAMESPACE.readlink()}"
    except OSError:
        return None
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def hold() -> HeldLifeline | None:
    """A new lifeline; None where this machine has no such thing."""
    machine = this_machine()
    if machine is None:
        return None
    lifeline = Lifeline(machine, secrets.token_hex(8))
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind(_address(lifeline))
        # Nobody has anything to say on it.
        held.shutdown(socket.SHUT_RD)
    except OSError:
        held.close()
        return None
    return HeldLifeline(lifeline, held)


def is_held(lifeline: Lifeline) -> bool:
    """Whether anything is left of its worker. True unless the kernel itself says that there is no such name.

    Raises:
        ValueError: it is another machine's.
    """
    if lifeline.machine != this_machine():
        raise ValueError(f"machine {lifeline.machine} is another one, process {os.getpid()} cannot look there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_address(lifeline))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def _address(lifeline: Lifeline) -> bytes:
    return b"\0resurgam/" + lifeline.name.encode()
