"""A few of the kills of `tests.projections.kills`."""

from pathlib import Path

from events.bus import Bus
from events.streams import Streams
from tests.projections.kills import kills

KILLS = 4


async def test_the_projector_of_a_busy_log_is_killed_at_random_moments(tmp_path: Path, bus: Bus) -> None:
    done = [kill async for kill in kills(bus, tmp_path, KILLS, seed=7)]
    assert [kill.difference for kill in done] == [None] * KILLS
    positions = [kill.position for kill in done]
    assert positions == sorted(positions)
    assert positions[-1] > 0
    for configuration in Streams(namespace="kills7-0").configurations():
        await bus.api(f"STREAM.DELETE.{configuration['name']}")
