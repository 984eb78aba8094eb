"""Starts `query` on a file, or ahead of time, and ends it when its time is over."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from projections import query
from projections.errors import QueryError

ROWS_MAX = 1000
TIMEOUT_S = 10.0
TIMEOUT_S_MAX = 300.0
SQL_CHARACTERS_MAX = 100_000


class Result(msgspec.Struct, frozen=True):
    """What a statement gave. `truncated`: there was more than the limits allow."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    truncated: bool
    through_sequence: int | None
    """The last event of the log that the tables held."""

    def records(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class _Answer(msgspec.Struct):
    columns: list[str] = []
    types: list[str] = []
    rows: list[list[Any]] = []
    truncated: bool = False
    through_sequence: int | None = None
    error: str | None = None


_answer = msgspec.json.Decoder(_Answer)


Process = subprocess.Popen[bytes]


def start() -> Process:
    """An interpreter that waits for one request."""
    return subprocess.Popen(
        [sys.executable, "-I", query.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Nothing of this program's environment: it may hold secrets, and a statement may find a way to read it.
        env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/nonexistent"},
        start_new_session=True,
    )


class Reserve:
    """One child that is started before it is needed: Python and DuckDB take a quarter of a second to begin, which is
    longer than most statements. Any thread may call any of this."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Process | None = None
        self._closed = False

    def take(self) -> Process:
        """The one in reserve, or where there is none, a new one."""
        with self._lock:
            process, self._waiting = self._waiting, None
        if process is not None and process.poll() is None:
            return process
        if process is not None:
            _end(process)
        return start()

    def fill(self) -> None:
        with self._lock:
            if self._waiting is None and not self._closed:
                self._waiting = start()

    def close(self) -> None:
        with self._lock:
            process, self._waiting, self._closed = self._waiting, None, True
        if process is not None:
            _end(process)


def _end(process: Process) -> None:
    process.kill()
    process.communicate()


class Statement:
    """One statement on one file, by a child that `take` gives. `run` blocks, in a thread of its own; `kill` may be
    called from any other."""

    def __init__(
        self,
        path: Path,
        sql: str,
        *,
        timeout_s: float,
        rows_max: int,
        bytes_max: int,
        take: Callable[[], Process] | None = None,
    ) -> None:
        if len(sql) > SQL_CHARACTERS_MAX:
            raise QueryError(f"the statement has {len(sql)} characters; {SQL_CHARACTERS_MAX} are taken")
        self._timeout_s = timeout_s
        self._request = msgspec.json.encode(
            {
                "path": str(path.absolute()),
                "sql": sql,
                "timeout_s": timeout_s,
                "rows_max": rows_max,
                "bytes_max": bytes_max,
            }
        )
        self._lock = threading.Lock()
        self._take = take or start
        self._killed = False
        self._process: Process | None = None

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def run(self) -> Result:
        """Returns when the statement is done or killed.

        Raises:
            QueryError: it has no result.
        """
        with self._lock:
            if self._killed:
                raise QueryError("the statement was given up")
            self._process = self._take()
        with self._process as process:
            try:
                output, complaint = process.communicate(self._request, timeout=self._timeout_s)
            except subprocess.TimeoutExpired as late:
                raise QueryError(_late(self._timeout_s)) from late
            finally:
                process.kill()
        if process.returncode != 0:
            raise QueryError(_died(process.returncode, complaint, self._timeout_s))
        found = _answer.decode(output)
        if found.error is not None:
            raise QueryError(found.error)
        return Result(found.columns, found.types, found.rows, found.truncated, found.through_sequence)


def _late(timeout_s: float) -> str:
    return f"the statement was not done within {timeout_s:g} s and was ended; ask for less, or give it a longer timeout"


def _died(code: int, complaint: bytes, timeout_s: float) -> str:
    if -code in {signal.SIGXCPU, signal.SIGALRM}:
        return _late(timeout_s)
    if code < 0:
        return f"the statement brought its process down ({signal.Signals(-code).name})"
    lines = complaint.decode("utf-8", "replace").strip().splitlines()
    return f"the statement could not be run: {lines[-1] if lines else f'exit code {code}'}"
