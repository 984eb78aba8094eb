"""Getting rid of everything beneath this process, which must be a child subreaper."""

import os
import signal
import time
from collections.abc import Callable

from worker.keeper import descendants, kill_groups, send

SWEEP_S_MAX = 2.0
"""Only a process that the kernel holds in an uninterruptible sleep lasts longer: it can be waited for, not helped."""
PAUSE_S = 0.0003
PAUSE_S_MAX = 0.02
STOPPED_FIRST_AFTER = 3
"""Rounds of killing after which everything is stopped before it is killed: somebody forks faster than we look."""


def reap(note: Callable[[int, int], None]) -> bool:
    """Takes the dead away and notes their pids and wait statuses; whether any child is left.

    Everything orphaned beneath a subreaper becomes its child, so no child means no descendant.
    """
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        note(pid, status)


def sweep(within_s: float = SWEEP_S_MAX) -> list[int]:
    """Kills until nothing is left; what still lives after `within_s`."""
    deadline = time.monotonic() + within_s
    pause = PAUSE_S
    rounds = 0
    looked_at = 0.0
    kill_groups(descendants())
    while reap(lambda *_: None):
        now = time.monotonic()
        if now >= deadline:
            return descendants()
        # Looking is dear where the kernel keeps no lists of children; the killed need a moment anyway.
        if now - looked_at >= pause:
            rounds += 1
            found = descendants()
            kill_groups(found)
            if rounds > STOPPED_FIRST_AFTER:
                for pid in found:
                    send(pid, signal.SIGSTOP)
                found = descendants()
            for pid in found:
                send(pid, signal.SIGKILL)
            looked_at = time.monotonic()
            pause = min(pause * 4, PAUSE_S_MAX)
        time.sleep(PAUSE_S)
    return []
