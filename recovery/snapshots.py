"""Snapshots of the fold: what one leader has made of the streams, for the next one to begin from.

A snapshot is worth nothing by itself. It names the events and the heartbeats that are in it, and who reads it asks the
streams whether they hold just these; if so, snapshot and tail are the whole. Anything that does not fit (another
namespace, other code, a missing piece, a log that has lost its tail) makes it useless and no more than that: then the
one before it is taken, or the log from its beginning.
"""

import hashlib
import zlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import structlog
from msgspec import Meta

from events.errors import LogError, ObjectDamaged, Unacknowledged
from events.log import EventLog, Position, verify_position
from events.objects import Objects
from recovery.core import State, forget_beats
from recovery.frozen import Unreadable, thaw

log = structlog.get_logger(__name__)

PREFIX = "state."
STATE = "state"
COMPRESSION = 1
"""Fast: states consist of names that repeat, and shrink to a tenth all the same."""
BYTES_MAX = 2 * 1024 * 1024 * 1024
"""Of what is written, when it is unpacked again."""


class Unusable(Exception):
    """It is no snapshot that this program could begin from; the message says why."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be known before the rest is looked at."""

    namespace: str
    version: str
    """Of the code that has folded it (`version_of`)."""
    events: Annotated[int, Meta(ge=1)]
    event_id: Annotated[str, Meta(min_length=1)]
    """Of the event at `events`: sequences are used again where a tail was lost."""
    heartbeats: Annotated[int, Meta(ge=0)]
    heartbeats_at: float | None
    """The broker's time of the heartbeat at `heartbeats`, for the same reason; None: that one was not read."""
    taken_at: datetime
    taken_by: str
    size: Annotated[int, Meta(ge=0, le=BYTES_MAX)]
    """Of the parts, unpacked."""

    @property
    def position(self) -> Position:
        return Position(self.events, self.event_id)


class Beginning(NamedTuple):
    """What a consumer begins with."""

    state: State
    position: Position
    heartbeats_after: int
    heartbeats_after_ns: int | None
    """The broker's time of the heartbeat at `heartbeats_after`, in nanoseconds; None: there is none to be compared."""
    header: Header
    parts: Mapping[str, bytes]


class Search(NamedTuple):
    """What came of looking for a snapshot."""

    beginning: Beginning | None
    """None: there is none, or none that is of use; then the whole log is folded."""
    passed_over: tuple[tuple[str, str], ...]
    """Names of those that are of no use, and why."""


class HeartbeatPlace(NamedTuple):
    """Whether HEARTBEATS is still the stream that a snapshot has seen."""

    stands: bool
    """The heartbeat is where it was, or has expired since."""
    time_ns: int | None = None
    """Its time, where it is there."""


PlaceOf = Callable[[int, float], Awaitable[HeartbeatPlace]]
"""By sequence, and the time that the heartbeat there had."""


def version_of(*packages: str) -> str:
    """A hash of the source of packages: of whatever decides what a fold makes of a log.

    Not only of the shape of the state: a fold by other rules would be another one, and nobody could verify what is
    decided on top of it.
    """
    digest = hashlib.sha256()
    for package in packages:
        found = find_spec(package)
        assert found is not None, package
        for folder in found.submodule_search_locations or ():
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def name_of(events: int) -> str:
    """Sorted by name is sorted by age, in a log that has not lost its tail."""
    return f"{PREFIX}{events:016}"


def compose(header: Header, parts: Mapping[str, bytes]) -> bytes:
    """A checksum, a line of JSON and what is packed behind it. The header's `size` is filled in."""
    packed = msgspec.msgpack.encode(dict(parts))
    header = msgspec.structs.replace(header, size=len(packed))
    body = msgspec.json.encode(header) + b"\n" + zlib.compress(packed, COMPRESSION)
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def parse(data: bytes) -> tuple[Header, Callable[[], dict[str, bytes]]]:
    """The header, and the way to the rest.

    Raises:
        Unusable: it is damaged.
    """
    digest, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise Unusable("its checksum is another one: it is damaged")
    line, _, packed = body.partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.DecodeError as error:
        raise Unusable(f"its header cannot be read: {error}") from error
    return header, lambda: _unpacked(packed, header.size)


def _unpacked(packed: bytes, size: int) -> dict[str, bytes]:
    try:
        unpacked = zlib.decompressobj().decompress(packed, size + 1)
        if len(unpacked) != size:
            raise Unusable(f"{len(unpacked)} bytes come out of it in the place of {size}")
        return msgspec.msgpack.decode(unpacked, type=dict[str, bytes])
    except (zlib.error, msgspec.DecodeError) as error:
        raise Unusable(f"it cannot be unpacked: {error}") from error


class Seeker:
    """Looks for the newest snapshot that is of use."""

    def __init__(self, objects: Objects, event_log: EventLog, place_of: PlaceOf, namespace: str, version: str) -> None:
        self._objects = objects
        self._log = event_log
        self._place_of = place_of
        self._namespace = namespace
        self._version = version

    async def search(self) -> Search:
        """Raises LogError where the broker does not answer: then nothing is known of what there is."""
        passed_over = []
        names = [name for name in await self._objects.names() if name.startswith(PREFIX)]
        for name in reversed(names):
            try:
                beginning = await self._beginning(name)
            except (Unusable, Unreadable, ObjectDamaged) as error:
                log.warning("snapshot_passed_over", snapshot=name, reason=str(error))
                passed_over.append((name, str(error)))
            else:
                return Search(beginning, tuple(passed_over))
        return Search(None, tuple(passed_over))

    async def _beginning(self, name: str) -> Beginning:
        data = await self._objects.get(name)
        if data is None:
            raise Unusable("it has just been removed")
        header, unpack = parse(data)
        if header.namespace != self._namespace:
            raise Unusable(f"it belongs to {header.namespace!r}")
        if header.version != self._version:
            raise Unusable(f"it was made by other code ({header.version}, this is {self._version})")
        if not await self._in_log(header.position):
            raise Unusable(f"the log does not hold event {header.events} that it ends with: its tail was lost")
        parts = unpack()
        if STATE not in parts:
            raise Unusable("it holds no state")
        state = thaw(parts[STATE])
        if (state.events_sequence, state.heartbeats_sequence) != (header.events, header.heartbeats):
            raise Unusable("its header speaks of another state than it holds")
        place = await self._heartbeats(header)
        if not place.stands:
            # The stream is read from its beginning, as by anybody who begins anew.
            forget_beats(state, 0)
            state.ignored.pop("heartbeat", None)
        after_ns = place.time_ns if place.stands else None
        return Beginning(state, header.position, state.heartbeats_sequence, after_ns, header, parts)

    async def _in_log(self, position: Position) -> bool:
        return await verify_position(self._log, position)

    async def _heartbeats(self, header: Header) -> HeartbeatPlace:
        if header.heartbeats == 0:
            return HeartbeatPlace(stands=True)
        if header.heartbeats_at is None:
            return HeartbeatPlace(stands=False)
        return await self._place_of(header.heartbeats, header.heartbeats_at)


async def search_patiently(seeker: Seeker, *, tries_max: int, pause: Callable[[], Awaitable[None]]) -> Search:
    """A broker that does not answer, or refuses, is asked again; in the end the whole log is folded: that always can
    be."""
    for tried in range(1, tries_max + 1):
        try:
            return await seeker.search()
        except LogError as error:
            log.warning("snapshots_not_searched", error=str(error), tries_left=tries_max - tried)
            if not isinstance(error, Unacknowledged):
                break
        if tried < tries_max:
            await pause()
    return Search(None, ())
