"""The way to a finding, as a person would tell it: every action, and what was recorded because of it."""

from collections.abc import Iterator

import msgspec

from events.base import Event
from tests.simulation.exhaustive.actions import ACTIONS, Seat
from tests.simulation.exhaustive.encoding import in_order
from tests.simulation.exhaustive.search import NO_ACTION, Finding
from tests.simulation.exhaustive.world import BEGIN, World, whole_delays

LEFT_OUT = ("host", "pid", "slots", "run_id", "work", "actor", "policy_hash", "evidence")


def told(finding: Finding, *, fenced: bool = True) -> str:
    """A line for each action and each event, with seconds since the beginning and sequences.

    It is played anew in a world that goes on, so the sequences are those of a real log, and the coordinators keep
    their names: the search tells them apart by their situation alone.
    """
    with whole_delays():
        return "\n".join([*_lines(finding, fenced=fenced), f"violated: {finding.message}"])


def _words(event: Event) -> str:
    """The event without what is the same in all events of a search, or is as by default."""
    plain = msgspec.to_builtins(event)
    kind = plain.pop("kind")
    return " ".join([kind, *(f"{name}={value}" for name, value in plain.items() if name not in LEFT_OUT)])


def _lines(finding: Finding, *, fenced: bool) -> Iterator[str]:
    world = World.empty(lasting=True)
    world.fenced = fenced
    for place, number in enumerate(finding.actions, 1):
        if number == NO_ACTION:
            return
        action = ACTIONS[number]
        world.coordinators = in_order(world)
        named = [world.coordinators[one].coordinator_id if isinstance(one, Seat) else one for one in action.arguments]
        yield f"{place:3}. {action.told(named)}"
        world.told = []
        broken = False
        try:
            action.play(world)
        except Exception:  # noqa: BLE001 - the finding, which has its sentence at the end
            broken = True
        for moment, sequence, what in world.told:
            yield f"       {moment - BEGIN:5.0f} s {sequence:4}  {what if isinstance(what, str) else _words(what)}"
        if broken:
            return
