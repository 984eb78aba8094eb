"""What the tests of slots give their slots to do."""

import sys
from collections.abc import Callable
from pathlib import Path

from worker.slots import CommandJob, PytestJob, Suite

SuiteOf = Callable[..., Suite]
PYTHON = (sys.executable, "-I", "-S", "-c")


def command(key: str, *argv: str, timeout_s: float | None = None, env: tuple[tuple[str, str], ...] = ()) -> CommandJob:
    return CommandJob(key, argv, "/", env, timeout_s)


def pytest_jobs(suite: Suite, *names: str, timeout_s: float | None = None) -> list[PytestJob]:
    return [PytestJob(name, f"test_it.py::test_{name}", suite, timeout_s=timeout_s) for name in names]


def let_go(suite: Suite) -> None:
    """End the wait of ``test_waits``."""
    Path(suite.cwd, "go").touch()


CRASHES = """
import ctypes, os, signal, sys, time
def test_first(): pass
def test_segfault(): ctypes.string_at(0)
def test_exit(): os._exit(0)
def test_kill(): os.kill(os.getpid(), signal.SIGKILL)
def test_keeper(): os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)
def test_hang():
    time.sleep(600)
def test_deaf():
    signal.signal(signal.SIGABRT, signal.SIG_IGN)
    os.fork()
    time.sleep(600)
def test_last(): pass
"""

WAITS = """
import pathlib, time
def test_waits():
    while not pathlib.Path("go").exists():
        time.sleep(0.005)
def test_one(): pass
def test_two(): pass
def test_three(): pass
"""
