"""How far a stream of the broker goes."""

from events.bus import Bus
from events.stored import stream_extent


async def last_sequence(bus: Bus, stream: str) -> int:
    """Of any stream; 0 for an empty one.

    Raises:
        BrokerRefused: there is no such stream.
        Unacknowledged: no answer.
    """
    return (await stream_extent(bus, stream)).last_seq
