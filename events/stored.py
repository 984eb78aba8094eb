"""Looking at a stream without a consumer: how far it goes, and one message of it."""

from datetime import datetime

import msgspec

from events.bus import Bus
from events.errors import BrokerRefused

MESSAGE_NOT_FOUND = 10037


class Extent(msgspec.Struct, frozen=True):
    """Which sequences a stream holds. Of an empty one `first_seq` is behind `last_seq`, or both are 0."""

    first_seq: int = 0
    last_seq: int = 0


class StoredMessage(msgspec.Struct, frozen=True):
    """A message as the server tells of it; `data` and `hdrs` are in base64."""

    subject: str
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""

    @property
    def time_ns(self) -> int:
        """Nanoseconds since the epoch, the same number that a delivery's answer subject holds."""
        whole, _, fraction = self.time.rstrip("Z").partition(".")
        seconds = round(datetime.fromisoformat(whole + "+00:00").timestamp())
        return seconds * 1_000_000_000 + int(fraction.ljust(9, "0"))


class _Info(msgspec.Struct):
    state: Extent


class _Answer(msgspec.Struct):
    message: StoredMessage


async def stream_extent(bus: Bus, stream: str) -> Extent:
    """How far it goes now.

    Raises:
        BrokerRefused: there is no such stream.
        Unacknowledged: no answer.
    """
    return msgspec.json.decode(await bus.api(f"STREAM.INFO.{stream}"), type=_Info).state


async def stored_message(bus: Bus, stream: str, which: dict[str, int | str]) -> StoredMessage | None:
    """The message at `{"seq": ...}`, or the last one on `{"last_by_subj": ...}`; None if there is none.

    Raises:
        BrokerRefused: there is no such stream.
        Unacknowledged: no answer.
    """
    try:
        answer = await bus.api(f"STREAM.MSG.GET.{stream}", which)
    except BrokerRefused as refused:
        if refused.code == MESSAGE_NOT_FOUND:
            return None
        raise
    return msgspec.json.decode(answer, type=_Answer).message
