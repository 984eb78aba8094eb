"""A witness that stays behind: for a worker that is alone on its machine.

Anybody of ours on a machine can testify that nothing is left of a worker there (`worker.lifeline`). Where there is only
the one worker, whoever kills its supervisor and its agent together kills all witnesses, and 15 seconds of silence would
have to tell what one look could. So a supervisor leaves a process behind, forked before there is anything to inherit.
It holds nothing of the worker, not even the lifeline, and waits on a socket for as long as its supervisor lives. If
that goes without a word, it waits until the lifeline is held no more, connects to the broker, answers the leader's
question, and ends.

It outlives its worker by seconds, and never for long: `KEEPERS_S_MAX` until the last of the tasks is gone, after which
the silence has told anyway, and then `CONNECT_S_MAX` and `TESTIFY_S_MAX`, or as soon as it was asked. It runs nothing
of anybody's.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import socket
import time

from events.connection import Connection
from events.errors import LogError
from events.streams import Streams
from worker.lifeline import Lifeline, is_held
from worker.options import Options
from worker.witness import serve_witness

NAME = b"bystander"
"""As the kernel calls the process."""
PR_SET_NAME = 15

KEEPERS_S_MAX = 15.0
CONNECT_S_MAX = 2.0
TESTIFY_S_MAX = 10.0
"""A leader that was elected meanwhile asks when it suspects the worker for its silence."""
AFTERWARDS_S = 0.5
"""For what was said to arrive, and for another to ask."""
LOOK_S = 0.01
LEAVE_S_MAX = 1.0
GOODBYE = b"\n"


class Bystander:
    """The supervisor's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def introduce(self, lifeline: Lifeline) -> None:
        """Says what to look for. Until then nothing is looked for."""
        self._tell(f"{lifeline.machine} {lifeline.name}".encode())

    def dismiss(self) -> None:
        """The worker ends in order: there is nothing to testify. Returns when the process has let go."""
        self._tell(GOODBYE)
        self._end.settimeout(LEAVE_S_MAX)
        with contextlib.suppress(OSError):
            self._end.recv(1)
        self._end.close()

    def _tell(self, word: bytes) -> None:
        # Somebody may have killed it: then there is no witness, as there was none before it.
        with contextlib.suppress(OSError):
            self._end.send(word, socket.MSG_NOSIGNAL)


def leave_bystander(options: Options) -> Bystander:
    """To be called before there are threads, event loops and child processes: it is no child of this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # What is there now is there for good. A collection on either side would write to all of it, and leave each with a
    # copy of its own.
    gc.freeze()
    child = os.fork()
    if child == 0:
        # In between, so that whoever waits for all children or kills them does not meet it.
        if os.fork() == 0:
            _live(options, ours, theirs)
        os._exit(0)
    os.waitpid(child, 0)
    theirs.close()
    return Bystander(ours)


def _live(options: Options, supervisors: socket.socket, own: socket.socket) -> None:
    """The whole life of the process."""
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_NAME, NAME, 0, 0, 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        supervisors.close()
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            # Whoever reads what the worker writes must not have to wait for this process.
            os.dup2(nothing, standard)
        lifeline = _await_end(own)
        if lifeline is not None and _await_release(lifeline):
            asyncio.run(_testify(options, lifeline))
    finally:
        os._exit(0)


def _await_end(own: socket.socket) -> Lifeline | None:
    """What to look for now that the supervisor is gone; None: it has taken its leave, or it had not begun."""
    lifeline = None
    while word := own.recv(256):
        if word == GOODBYE:
            return None
        machine, name = word.decode().split()
        lifeline = Lifeline(machine, name)
    return lifeline


def _await_release(lifeline: Lifeline) -> bool:
    """Whether nothing is left of the worker, once that is so."""
    deadline = time.monotonic() + KEEPERS_S_MAX
    while is_held(lifeline):
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_S)
    return True


async def _testify(options: Options, lifeline: Lifeline) -> None:
    asked = asyncio.Event()

    def look(at: Lifeline) -> bool:
        if at == lifeline:
            asked.set()
        return is_held(at)

    try:
        name = f"witness/{options.worker_id}"
        bus = await Connection.connect(options.nats_url, name=name, wait_s=CONNECT_S_MAX)
        await serve_witness(bus, Streams(namespace=options.namespace), lifeline.machine, look)
    except LogError:
        return  # nobody to tell: its silence will
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TESTIFY_S_MAX):
            await asked.wait()
            await asyncio.sleep(AFTERWARDS_S)
    await bus.close()
