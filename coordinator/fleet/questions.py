"""Questions to the broker that need no reader."""

from datetime import datetime

import msgspec

from events.bus import Bus
from events.clock import seconds
from events.stored import stored_message, stream_extent
from events.streams import Streams


class _Info(msgspec.Struct):
    ts: datetime


async def broker_time(bus: Bus, streams: Streams) -> float:
    """What the broker's clock shows, seconds since the epoch.

    Raises:
        LogError: the broker does not answer, or there is no such system.
    """
    info = msgspec.json.decode(await bus.api(f"STREAM.INFO.{streams.leases}"), type=_Info)
    return seconds(info.ts)


async def somebody_leads(bus: Bus, streams: Streams) -> bool:
    """Whether somebody has the lease: leads, or did until two seconds ago.

    Raises:
        LogError: the broker does not answer, or there is no such system.
    """
    return await stored_message(bus, streams.leases, {"last_by_subj": streams.lease_subject}) is not None


async def heartbeats_before(bus: Bus, streams: Streams, time: float) -> int:
    """The sequence behind which the heartbeats stand that were stored at `time` or later, found by bisection.

    Raises:
        LogError: the broker does not answer, or there is no such system.
    """
    everybody = streams.heartbeat_subject("*")
    extent = await stream_extent(bus, streams.heartbeats)
    low, high = extent.first_seq, extent.last_seq + 1
    while low < high:
        middle = (low + high) // 2
        # Some may be missing in between: the next one is asked for.
        stored = await stored_message(bus, streams.heartbeats, {"seq": middle, "next_by_subj": everybody})
        if stored is None or stored.time_ns / 1e9 >= time:
            high = middle
        else:
            low = stored.seq + 1
    return max(low - 1, 0)
