"""The launcher `local`: a process on this machine."""

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

from coordinator.strategies.interface import LaunchOrder, StrategyFailed, Unavailable
from worker.lifeline import this_machine

WATCH_S = 1.0
"""How long it is watched: one that cannot work ends within that."""
LOOK_S = 0.05
LINE_MAX = 300


class LocalLauncher:
    """Starts workers with this interpreter, in a session of their own: they outlive the coordinator. What they write
    goes to `<worker id>.log` in `folder`, behind what stands there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def launch(self, order: LaunchOrder) -> str:
        self._refuse_strangers(order)
        path = self._folder / f"{order.worker_id}.log"
        process = self._start(order, path)
        for _ in range(round(WATCH_S / LOOK_S)):
            await asyncio.sleep(LOOK_S)
            code = process.poll()
            if code is not None:
                raise StrategyFailed(f"process {process.pid} ended with code {code}: {_last_line(path)}")
        return f"process {process.pid}, which writes to {path}"

    @staticmethod
    def _refuse_strangers(order: LaunchOrder) -> None:
        machine, host = this_machine(), socket.gethostname()
        same = order.host == host if order.machine is None or machine is None else order.machine == machine
        if not same:
            raise Unavailable(f"it was a worker of {order.host}, and the launcher 'local' starts processes on {host}")

    def _start(self, order: LaunchOrder, path: Path) -> "subprocess.Popen[bytes]":
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "worker", *order.options],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            raise StrategyFailed(f"no process can be started: {error}") from error
        # Somebody has to reap it when it ends, for as long as this process lives.
        threading.Thread(target=process.wait, name=f"wait for {order.worker_id}", daemon=True).start()
        return process


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return said[:LINE_MAX] or f"it said nothing (see {path})"
