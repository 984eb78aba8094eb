"""Objects of any size on the broker, by name: an object store as NATS defines one (ADR-20), so `nats object` reads it.

An object is a message of its own that describes it, and behind that chunks on a subject of their own. It is there when
the description is: whoever ends in the middle of writing leaves chunks behind that nobody names, and `sweep` removes.
"""

import base64
import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from events.acks import STREAM_FULL, decode_ack
from events.bus import Bus
from events.clock import utc
from events.errors import BrokerRefused, LogError, LogFull, ObjectDamaged
from events.host import host
from events.identity import new_id
from events.reader import RawReader
from events.stored import stored_message

CHUNK_BYTES = 128 * 1024
"""As the other clients of NATS have it."""
CHUNK_S_MAX = 5.0
"""For the broker to take a chunk, or to hand one out."""
MESSAGE_BYTES_MAX = CHUNK_BYTES + 8 * 1024
DIGEST = "SHA-256="


class Objects(Protocol):
    """Names and bytes. What is not there yet, or not any more, is nobody's fault."""

    async def names(self) -> list[str]:
        """Of all objects, sorted; damaged ones too.

        Raises:
            LogError: the broker does not answer, or refuses.
        """
        ...

    async def get(self, name: str) -> bytes | None:
        """None: there is no such object.

        Raises:
            ObjectDamaged: not all of it is there, or it is not what was written.
            LogError: as above.
        """
        ...

    async def put(self, name: str, data: bytes) -> None:
        """Returns when all of it is stored. One of that name is replaced.

        Raises:
            LogFull: there is no room for it.
            LogError: as above; then it is not there, or, if only the last answer was lost, it is.
        """
        ...

    async def remove(self, name: str) -> None:
        """Raises LogError as above."""
        ...

    async def sweep(self) -> None:
        """Removes what writers have left that did not come to an end; none may be at work.

        Raises:
            LogError: as above.
        """
        ...


class MemoryObjects:
    """Keeps `Objects`, for tests of what is above."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    async def names(self) -> list[str]:
        return sorted(self.held)

    async def get(self, name: str) -> bytes | None:
        return self.held.get(name)

    async def put(self, name: str, data: bytes) -> None:
        self.held[name] = data

    async def remove(self, name: str) -> None:
        self.held.pop(name, None)

    async def sweep(self) -> None:
        return


class _Description(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The part of ADR-20's `ObjectInfo` that is written and read here."""

    name: str
    bucket: str
    nuid: str
    size: int
    mtime: str
    chunks: int
    digest: str
    options: dict[str, int] = {}
    deleted: bool = False


class _State(msgspec.Struct):
    subjects: dict[str, int] | None = None


class _Info(msgspec.Struct):
    state: _State


_description = msgspec.json.Decoder(_Description)


def stream_of(bucket: str) -> str:
    return f"OBJ_{bucket}"


def settings_of(bucket: str) -> dict[str, Any]:
    """Of the stream that holds the objects: those that make it an object store."""
    return {
        "name": stream_of(bucket),
        "subjects": [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"],
        "allow_rollup_hdrs": True,
        "discard": "new",
        "max_msg_size": MESSAGE_BYTES_MAX,
    }


class ObjectStore:
    """Keeps `Objects` over a stream with `settings_of(bucket)`."""

    def __init__(self, bus: Bus, bucket: str) -> None:
        self._bus = bus
        self._bucket = bucket
        self._stream = stream_of(bucket)

    def _meta_subject(self, name: str) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    def _chunk_subject(self, nuid: str) -> str:
        return f"$O.{self._bucket}.C.{nuid}"

    async def names(self) -> list[str]:
        found = []
        for subject in await self._subjects("M"):
            try:
                there = await self._described(subject) is not None
            except ObjectDamaged:
                there = True
            if there and (name := _name_in(subject)) is not None:
                found.append(name)
        return sorted(found)

    async def _subjects(self, kind: str) -> list[str]:
        body = {"subjects_filter": f"$O.{self._bucket}.{kind}.>"}
        info = msgspec.json.decode(await self._bus.api(f"STREAM.INFO.{self._stream}", body), type=_Info)
        return sorted(info.state.subjects or {})

    async def _described(self, subject: str) -> _Description | None:
        stored = await stored_message(self._bus, self._stream, {"last_by_subj": subject})
        if stored is None:
            return None
        try:
            description = _description.decode(base64.b64decode(stored.data))
        except msgspec.DecodeError as error:
            raise ObjectDamaged(f"what is said of the object on {subject} cannot be read: {error}") from error
        return None if description.deleted else description

    async def get(self, name: str) -> bytes | None:
        description = await self._described(self._meta_subject(name))
        if description is None:
            return None
        data = b"".join(await self._chunks(description))
        if len(data) != description.size or _digest(data) != description.digest:
            raise ObjectDamaged(f"{name}: {len(data)} of {description.size} bytes, and not those that were written")
        return data

    async def _chunks(self, description: _Description) -> list[bytes]:
        chunks: list[bytes] = []
        if not description.chunks:
            return chunks
        filters = [self._chunk_subject(description.nuid)]
        reader = await RawReader(self._bus, self._stream, after=0, filters=filters, volatile=True).start()
        try:
            while len(chunks) < description.chunks:
                batch = [] if reader.caught_up else await reader.next(CHUNK_S_MAX)
                if not batch:
                    raise ObjectDamaged(f"{description.name}: {len(chunks)} of {description.chunks} chunks are there")
                chunks += [message.data for _, _, message in batch]
        finally:
            await reader.close()
        return chunks

    async def put(self, name: str, data: bytes) -> None:
        before = await self._chunk_subjects([self._meta_subject(name)])
        description = _Description(
            name=name,
            bucket=self._bucket,
            nuid=new_id(),
            size=len(data),
            mtime=utc(host().wall()).isoformat().replace("+00:00", "Z"),
            chunks=-(-len(data) // CHUNK_BYTES),
            digest=_digest(data),
            options={"max_chunk_size": CHUNK_BYTES},
        )
        subject = self._chunk_subject(description.nuid)
        try:
            for start in range(0, len(data), CHUNK_BYTES):
                await self._store(subject, data[start : start + CHUNK_BYTES])
        except LogError:
            await self._forget(subject)
            raise
        await self._store(self._meta_subject(name), msgspec.json.encode(description), {"Nats-Rollup": "sub"})
        for each in before:
            await self._purge(each)

    async def _store(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        ack = decode_ack(await self._bus.request(subject, payload, headers, timeout_s=CHUNK_S_MAX))
        if ack.error is None:
            return
        kind = LogFull if ack.error.err_code in STREAM_FULL else BrokerRefused
        raise kind(f"storing in {self._bucket}", ack.error.description, ack.error.err_code)

    async def remove(self, name: str) -> None:
        subject = self._meta_subject(name)
        chunks = await self._chunk_subjects([subject])
        for each in (subject, *chunks):
            await self._purge(each)

    async def sweep(self) -> None:
        named = await self._chunk_subjects(await self._subjects("M"))
        for subject in await self._subjects("C"):
            if subject not in named:
                await self._purge(subject)

    async def _chunk_subjects(self, meta_subjects: Iterable[str]) -> list[str]:
        """Of the objects that are described there. The chunks of a damaged one are nobody's."""
        found = []
        for subject in meta_subjects:
            with contextlib.suppress(ObjectDamaged):
                description = await self._described(subject)
                if description is not None:
                    found.append(self._chunk_subject(description.nuid))
        return found

    async def _forget(self, subject: str) -> None:
        """If that can be done now; else the next sweep does it."""
        with contextlib.suppress(LogError):
            await self._purge(subject)

    async def _purge(self, subject: str) -> None:
        await self._bus.api(f"STREAM.PURGE.{self._stream}", {"filter": subject})


def _name_in(meta_subject: str) -> str | None:
    """None: whatever is there, no client has put it."""
    try:
        return base64.b64decode(meta_subject.rpartition(".")[2], altchars=b"-_", validate=True).decode()
    except ValueError:
        return None


def _digest(data: bytes) -> str:
    return DIGEST + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
