"""Writing an archive from a system that can be read."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from events.errors import Unacknowledged
from events.reader import RawReader
from events.stored import stream_extent
from replay.access import Source
from replay.archive import EVENTS, HEARTBEATS, ArchiveWriter, Message
from replay.reading import SILENCE_S_MAX, SILENCES_MAX, Progress


class Exported(NamedTuple):
    events: int
    heartbeats: int
    missing: int
    """Events that the stream itself has lost."""


async def export(source: Source, path: Path, *, progress: Progress | None = None) -> Exported:
    """Everything that both streams hold now, in one file; replaces an older one when it is complete.

    Raises:
        ArchiveFault: the file cannot be written.
        Unacknowledged: the broker has more, and it does not come.
    """
    streams = source.streams
    counts = {EVENTS: 0, HEARTBEATS: 0}
    with ArchiveWriter(path, streams.namespace) as writer:
        for kind, stream, filters in (
            (EVENTS, streams.events, []),
            # Heartbeats expire: what is missing there is no damage.
            (HEARTBEATS, streams.heartbeats, [streams.heartbeat_subject("*")]),
        ):
            last = (await stream_extent(source.bus, stream)).last_seq
            async for message in _messages(source, kind, stream, filters, last):
                writer.add(message)
                counts[kind] += 1
                if kind == EVENTS and progress is not None:
                    progress(message.sequence)
            if kind == EVENTS:
                missing = last - counts[kind]
    return Exported(counts[EVENTS], counts[HEARTBEATS], missing)


async def _messages(source: Source, kind: str, stream: str, filters: list[str], last: int) -> AsyncIterator[Message]:
    if last == 0:
        return
    reader = await RawReader(source.bus, stream, after=0, filters=filters).start()
    silences = 0
    try:
        while reader.sequence < last:
            batch = await reader.next(SILENCE_S_MAX)
            for sequence, _, delivered in batch:
                if sequence <= last:
                    # The reader's own time is a float, which cannot hold nanoseconds: the delivery's subject does.
                    time_ns = int(delivered.reply.rsplit(".", 2)[1])
                    headers = None if delivered.headers is None else dict(delivered.headers)
                    yield Message(kind, sequence, time_ns, delivered.subject, headers, delivered.data)
            if not batch:
                if reader.caught_up:
                    return  # what the stream's state promised has expired meanwhile
                silences += 1
                if silences >= SILENCES_MAX:
                    raise Unacknowledged(f"{stream} holds more than {reader.sequence} messages, and they do not come")
    finally:
        await reader.close()
