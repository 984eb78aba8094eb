"""Room for the broker: how much of the disk it may take, how large the streams may be, and who holds the folder."""

import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import IO

from coordinator.faults import UsageFault
from events.streams import LEASES_BYTES_MAX, MIB, Streams

DISK_SHARE = 0.9
"""Of what is free plus what the store has already; the rest keeps the machine alive when the streams are full."""

ROOM_MIN = 96 * MIB
ROOM_TO_START = 4 * MIB
"""Without so much on the disk, nobody starts a broker anew: it could not even write down where it listens."""
LOCK_WAIT_S = 3.0
"""A coordinator that was killed takes its broker with it; that takes a moment."""


def make_folder(folder: Path) -> None:
    """With those above it; nothing where it is there.

    Raises:
        UsageFault: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageFault(f"the folder {folder} cannot be made ({error.strerror}); give another --state-dir") from error


def bytes_under(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_blocks * 512
            except OSError:
                continue  # gone since it was listed
    return total


def free_in(folder: Path) -> int:
    """Bytes on the disk that a process of ours may still write."""
    return shutil.disk_usage(folder).free


def room_in(folder: Path, share: float = 1.0) -> int:
    """Bytes that a store in `folder` may take in all, where it has only a share of the disk.

    Raises:
        UsageFault: that is too little to begin with.
    """
    room = int(free_in(folder) * DISK_SHARE * share + bytes_under(folder) * DISK_SHARE)
    if room < ROOM_MIN:
        raise UsageFault(
            f"the disk of {folder} has room for {room // MIB} MiB, and the log needs at least {ROOM_MIN // MIB}: "
            f"make room, or give another --state-dir"
        )
    return room


def streams_fitting(namespace: str, room: int) -> Streams:
    """The streams at their usual sizes, or smaller ones where the disk is: full must be an explicit refusal."""
    usual = Streams(namespace=namespace)
    if room >= usual.bytes_max * 1.1:
        return usual
    rest = room - LEASES_BYTES_MAX
    return Streams(
        namespace=namespace,
        events_bytes_max=int(rest * 0.65),
        heartbeats_bytes_max=int(rest * 0.15),
        snapshots_bytes_max=int(rest * 0.1),
    )


class FolderLock:
    """Holds a folder for one broker at a time.

    The broker inherits the lock's file descriptor, so the folder counts as held until both the coordinator and its
    broker are gone, however they went.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "lock"
        self._file: IO[str] | None = None

    @property
    def fd(self) -> int:
        assert self._file is not None
        return self._file.fileno()

    def acquire(self, wait_s: float = LOCK_WAIT_S) -> None:
        """Waits a moment for a holder that is about to end.

        Raises:
            UsageFault: another process holds the folder, or it cannot be written.
        """
        deadline = time.monotonic() + wait_s
        try:
            file = self._path.open("a+", encoding="utf-8")
        except OSError as error:
            raise UsageFault(
                f"the folder {self._folder} cannot be written ({error.strerror}); give another --state-dir"
            ) from error
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read(32).strip() or "unknown"
                    file.close()
                    raise UsageFault(
                        f"the broker store {self._folder} is in use by process {holder}: stop that one first, give "
                        f"another --state-dir, or join its broker with --nats-url"
                    ) from error
                time.sleep(0.02)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
