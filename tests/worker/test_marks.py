"""What an agent's slots have begun last, as whoever survives them reads it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.backlog import key_of
from worker.marks import KEPT, MARK_BYTES, Begun, Marks, Row
from worker.slots import HANDED_MAX


@pytest.fixture
def marks() -> Iterator[Marks]:
    made = Marks()
    yield made
    made.close()


def test_the_last_ones_of_each_slot_are_kept(marks: Marks) -> None:
    first, second = Row(marks.fd, 0), Row(marks.fd, 1)
    assert marks.read() == []
    for number in range(KEPT + 3):
        first.set(key_of(7, f"t{number}", 1))
    second.set(key_of(7, "x", 2))
    found = marks.read()
    assert found[:KEPT] == [Begun(7, f"t{KEPT + 2 - after}", 1, after) for after in range(KEPT)]
    assert found[KEPT:] == [Begun(7, "x", 2, 0)]


def test_more_are_kept_than_a_runner_is_handed_ahead() -> None:
    """So the guilty one is among them, however many behind it begin before the kill strikes."""
    assert KEPT > HANDED_MAX


def test_the_longest_key_fits(marks: Marks) -> None:
    longest = key_of(2**53, "t" * 64, 2**53)
    assert len(longest) + len(" ") + 20 <= MARK_BYTES
    Row(marks.fd, 3).set(longest)
    assert marks.read() == [Begun(2**53, "t" * 64, 2**53, 0)]


@pytest.mark.parametrize(
    "scribble", [b"\xff" * MARK_BYTES, b"1.t1.1", b"1.t1.1 soon", b"x.t1.1 5", b"1..1 5", b"1.t1.x 5"]
)
def test_what_a_test_scribbles_is_left_out(marks: Marks, scribble: bytes) -> None:
    Row(marks.fd, 0).set("1.t1.1")
    os.pwrite(marks.fd, scribble.ljust(MARK_BYTES, b"\0"), MARK_BYTES)
    assert marks.read() == [Begun(1, "t1", 1, 0)]


def test_they_outlive_whoever_made_them(marks: Marks) -> None:
    """A process that inherits the page, marks what it begins, and kills itself at once."""
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2]); from worker.marks import Row;"
        "Row(int(sys.argv[1]), 0).set('1.t1.1'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    arguments = [sys.executable, "-c", code, str(marks.fd), str(Path(__file__).parents[2])]
    assert subprocess.run(arguments, pass_fds=[marks.fd], check=False).returncode < 0
    assert marks.read() == [Begun(1, "t1", 1, 0)]
