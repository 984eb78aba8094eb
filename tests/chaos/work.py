"""What the farm's tasks do: last for a while, wait for a word, or stay for ever with a tree of processes beneath them.

Every run of a task holds a lock for as long as it or anything that it has forked lives. A second run that finds the
lock taken leaves a note: two attempts were alive at one time, whatever the log says.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from events.work import AnyWork, CommandWork, PytestWork, Suite

TASK = '''
import fcntl, os, signal, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))


def begin(name):
    """The lock, and which run of this task this is."""
    runs = open(os.path.join(HERE, name + ".runs"), "a+")
    try:
        fcntl.flock(runs, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        open(os.path.join(HERE, name + ".overlap"), "w").close()
        raise AssertionError("another run of " + name + " is alive")
    runs.write("%d\\n" % os.getpid())
    runs.flush()
    runs.seek(0)
    return runs, len(runs.readlines())


def grow_a_tree():
    """A child, and a daemon that has forked twice and left the session. Nothing but SIGKILL ends them."""
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            while True:
                time.sleep(600)
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(600)
        os._exit(0)
    os.wait()


def wait_for_a_word(name):
    while not os.path.exists(os.path.join(HERE, name + ".go")):
        time.sleep(0.01)


def act(name, what):
    lock, run = begin(name)
    if what == "stay":
        if run == 1:
            grow_a_tree()
            wait_for_a_word("nothing that is ever said")
    elif what == "wait":
        wait_for_a_word(name)
    else:
        time.sleep(float(what))
    lock.close()


if __name__ == "__main__":
    act(sys.argv[1], sys.argv[2])
'''
TREE = 2
"""Processes beneath a task that stays."""

SUITE = """
import pytest
import task

LASTING = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


@pytest.mark.parametrize("number", range(12))
def test_lasts(number):
    task.act(f"test_lasts_{number}", LASTING[number % len(LASTING)])


def test_stays():
    task.act("test_stays", "stay")
"""
LASTING_TESTS = 12


class Workshop:
    """The folder where the tasks of one test live."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "task.py").write_text(TASK)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_suite.py").write_text(SUITE)
        self._suite = Suite(python=sys.executable, cwd=str(folder), args=("-p", "no:cacheprovider"))
        self._named = 0

    def command(self, what: str | float, name: str = "") -> CommandWork:
        """`what`: seconds to last, `stay` (for ever in its first run, and pass in the next), `wait` (for `say_go`)."""
        self._named += 1
        name = name or f"command-{self._named}"
        argv = (sys.executable, "-I", "-S", str(self.folder / "task.py"), name, str(what))
        return CommandWork(argv=argv, cwd=str(self.folder))

    def commands(self, number: int, *durations_s: float) -> list[AnyWork]:
        """Commands that last so long, in turn."""
        return [self.command(durations_s[index % len(durations_s)]) for index in range(number)]

    def tests(self, names: Iterable[str] = (), *, file: str = "test_suite.py") -> list[AnyWork]:
        """Tests of the suite; all those that last when none is named."""
        chosen: Sequence[str] = list(names) or [f"test_lasts[{number}]" for number in range(LASTING_TESTS)]
        return [PytestWork(suite=self._suite, node_id=f"{file}::{name}") for name in chosen]

    def say_go(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()

    def runs(self, name: str) -> list[int]:
        """The pids of a task's runs so far."""
        path = self.folder / f"{name}.runs"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def overlaps(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.overlap"))
