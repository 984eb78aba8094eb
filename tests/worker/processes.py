"""Programs that are hard to get rid of, and how to see whether they are gone."""

import contextlib
import uuid
from pathlib import Path

MARK = "RESURGAM_TEST_MARK"


def new_mark() -> str:
    return uuid.uuid4().hex


BYSTANDER = b"bystander\n"


def marked(mark: str) -> list[int]:
    """The living processes with this mark in their environment; the dead have none. But for the witnesses of workers,
    which outlive these: `bystanders`."""
    return [pid for pid in _with_mark(mark) if not _is_bystander(pid)]


def bystanders(mark: str) -> list[int]:
    return [pid for pid in _with_mark(mark) if _is_bystander(pid)]


def _is_bystander(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_bytes() == BYSTANDER
    return False


def _with_mark(mark: str) -> list[int]:
    wanted = f"{MARK}={mark}".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
    return found


# Three processes: itself, a child, and a daemon that has forked twice and left the session. All ignore SIGTERM, and
# all hold standard output open.
STUBBORN_TREE = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(600)
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(600)
"""
STUBBORN_TREE_SIZE = 3

# Leaves the same behind, and ends well itself.
LEAVES_A_DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
print("done", flush=True)
"""

# One process that forks without end, and a chain in which every process forks the next one and ends.
FORKING_LOOPS = """
import os, time
if os.fork() == 0:
    while True:
        if os.fork():
            os._exit(0)
while True:
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(0.002)
"""
