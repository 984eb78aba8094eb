"""A process forked out of a running event loop, that owns nothing of its parent's but one socket.

Forking saves the start-up of an interpreter with all of its imports: the agent runs on what its supervisor has loaded
already, and shares its memory.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from worker.keeper import PR_SET_PDEATHSIG, prctl

CHILD_FAILED = 70
SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def fork(main: Callable[[], int], keep: Iterable[int]) -> int:
    """Starts `main` in a child with a session of its own, which dies with this process; returns its pid.

    The child never comes back into the caller's frames: their objects (sockets, the loop) stay alive and untouched on
    its stack, while all file descriptors but standard ones and `keep` are taken away from under them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    # A handler of the parent's that ran in the child would wake the parent's loop.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        return pid
    code = CHILD_FAILED
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            _leave_parent(set(keep))
            code = main()
    except BaseException:  # noqa: BLE001 - the child ends here, whatever it was
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _leave_parent(keep: set[int]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_DFL)
    # Replaced rather than closed: the parent's objects know their numbers, which must not become somebody else's.
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in list(Path("/proc/self/fd").iterdir()):
        fd = int(name.name)
        if fd > 2 and fd not in keep and fd != nothing:
            try:
                os.fstat(fd)
            except OSError:
                continue  # the listing's own
            os.dup2(nothing, fd, inheritable=False)
    gc.freeze()
    asyncio.events._set_running_loop(None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
