"""What befalls the snapshots that leaders have written: each of them may be gone or damaged when it is looked for."""

import msgspec

from events.objects import stream_of
from tests.simulation.arena import Arena, Strike
from tests.simulation.faults import Fault, FaultKind
from tests.simulation.storage import Stored
from tests.simulation.stream import Stream

DESCRIPTIONS = ".M."


def _stream(arena: Arena) -> Stream:
    return arena.world.broker.streams[stream_of(arena.world.streams.snapshots)]


def _chosen(arena: Arena, fault: Fault) -> Stored | None:
    records = list(_stream(arena).existing())
    return records[int(fault.choice * len(records))] if records else None


async def snapshot_lost(arena: Arena, fault: Fault) -> bool:
    record = _chosen(arena, fault)
    return record is not None and _stream(arena).remove(record.sequence)


async def snapshot_corrupt(arena: Arena, fault: Fault) -> bool:
    record = _chosen(arena, fault)
    if record is None:
        return False
    data = bytearray(record.data)
    data[int(fault.choice * 997) % len(data)] ^= 0x10
    _stream(arena).replace(msgspec.structs.replace(record, data=bytes(data)))
    return True


async def snapshot_stale(arena: Arena, fault: Fault) -> bool:
    del fault
    stream = _stream(arena)
    descriptions = [record for record in stream.existing() if DESCRIPTIONS in record.subject]
    for record in descriptions[1:]:
        stream.remove(record.sequence)
    return len(descriptions) > 1


STRIKES: dict[FaultKind, Strike] = {
    FaultKind.SNAPSHOT_LOST: snapshot_lost,
    FaultKind.SNAPSHOT_CORRUPT: snapshot_corrupt,
    FaultKind.SNAPSHOT_STALE: snapshot_stale,
}
