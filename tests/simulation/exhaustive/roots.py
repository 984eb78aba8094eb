"""Where searches begin, and what may happen in them.

The search from an empty log sees everything, and not far; other beginnings are moments of ordinary days. A theme
leaves out most of what may happen, and so sees the rest to a greater depth.
"""

from collections.abc import Sequence

from tests.simulation.exhaustive.actions import ACTIONS, BY_NAME
from tests.simulation.exhaustive.world import World

_FARM = ("elect 0", "register w1", "beat w1", "register w2", "beat w2")
_BUSY = (*_FARM, "submit t1", "submit t2", "start t1", "start t2")
_LOST = (*_BUSY, "leap", "beat w2", "tick", "beat w2")

ROOTS: dict[str, tuple[str, ...]] = {
    # Nothing has happened.
    "empty": (),
    # A leader, two workers, and a task for each that has not begun.
    "farm": (*_FARM, "submit t1", "submit t2"),
    # Both run.
    "busy": _BUSY,
    # One worker has fallen silent and is suspect.
    "suspect": (*_BUSY, "tick", "beat w2", "leap"),
    # One worker has fallen silent and is given up; its task waits for the other.
    "lost": _LOST,
    # It is back, and asked to prove that it hears; its task runs elsewhere or waits to.
    "probed": (*_LOST, "register w1", "beat w1"),
    # The same, until the first attempt has failed.
    "again": (*_LOST, "exit unregistered w1"),
    # Another leads since a moment ago; one worker beats all along, and the other has been silent before.
    "followed": (*_BUSY, "tick", "beat w2", "crash 0", "elect 0"),
    # A task was cancelled while it runs, and its worker has beaten since without a word about it.
    "deaf": (*_BUSY, "cancel t1", "beat w1", "tick", "beat w2"),
    # A task was not begun, although its worker beats and has room.
    "idle": (*_FARM, "submit t1", "tick", "beat w1", "beat w2", "tick", "beat w2"),
}


def played(names: Sequence[str], *, lasting: bool = False) -> World:
    """The world after these actions, each of which must be possible."""
    world = World.empty(lasting=lasting)
    for name in names:
        if not ACTIONS[BY_NAME[name]].play(world):
            raise ValueError(f"{name!r} cannot happen there")
    return world


THEMES: dict[str, tuple[str, ...]] = {
    # One worker falls, is brought back, given up, re-admitted, under leaders that come and go.
    "repair": (
        *("register w1", "beat w1", "exit seen w1", "exit late w1", "exit unregistered w1", "stop w1", "condemn w1"),
        *("answer w1", "answer late w1", "readmit w1", "tick", "leap", "elect 0", "hold 0", "resume 0"),
        *("decide on new view 0", "append 0", "rule usual", "rule paused"),
    ),
    # One task goes from worker to worker, and is cancelled at any moment.
    "retries": (
        *("submit t1", "start t1", "finish t1 passed", "finish t1 failed", "finish t1 fenced", "finish t1 cancelled"),
        *("give back t1", "cancel t1", "start late t1", "pass late t1", "exit seen w1", "exit seen w2", "register w1"),
        *("register w2", "beat w1", "beat w2", "drain w1", "answer w1", "answer w2", "rule usual", "rule retrying"),
        *("cordon w1", "uncordon w1"),
    ),
    # Leaders are slow, crash and are replaced while one worker comes and goes with the one task.
    "leaders": (
        *("elect 0", "elect 1", "elect slow 0", "elect slow 1", "crash 0", "crash 1", "step down 0", "step down 1"),
        *("hold 0", "hold 1", "resume 0", "resume 1", "decide on old view 0", "decide on old view 1"),
        *("decide on new view 0", "decide on new view 1", "read beats 0", "read beats 1", "read events 0"),
        *("read events 1", "append 0", "append 1", "lose 0", "lose 1", "start t1", "finish t1 passed", "cancel t1"),
        *("register w1", "beat w1", "exit seen w1", "leap"),
    ),
    # The broker loses heartbeats, its clock is set, and a leader that is slow to notice judges one worker by the rest.
    "doubts": (
        *(
            "set clock back",
            "set clock forth",
            "lose beats anew",
            "lose beats on",
            "doubt 0",
            "rule usual",
            "rule short",
        ),
        *("elect 0", "crash 0", "hold 0", "resume 0", "decide on old view 0", "decide on new view 0", "read beats 0"),
        *("read events 0", "append 0", "lose 0", "register w1", "beat w1", "beat w2", "disconnect w1", "exit seen w1"),
        *("answer w1", "submit t1", "start t1", "tick", "leap"),
    ),
    # Workers beat and do nothing, have not heard of the last rules, and are watched by leaders that follow each other.
    "useless": (
        *("beat w1", "beat deaf w1", "beat laden w1", "beat w2", "start t1", "finish t1 passed", "finish t1 cancelled"),
        *("give back t1", "forget t1", "cancel t1", "drain w1", "exit seen w1", "register w1", "rule usual"),
        *("rule paused", "rule short", "crash 0", "elect 0", "hold 0", "decide on old view 0", "append 0"),
        *("tick", "leap"),
    ),
}
"""The actions that are left in; all of them without a theme."""


def theme(name: str | None) -> tuple[int, ...]:
    return tuple(range(len(ACTIONS))) if name is None else tuple(sorted(BY_NAME[action] for action in THEMES[name]))
