"""What tests of the broker below the log ask it, and how they hear it."""

from collections.abc import Callable
from typing import Any

import msgspec

from events.bus import Bus, Message
from events.streams import Streams
from tests.waiting import until

SOON_S = 10.0
TAIL = "task.t1.cancel_requested"
Headers = dict[str, str]

LAST = "Nats-Expected-Last-Subject-Sequence"
LAST_OF = "Nats-Expected-Last-Subject-Sequence-Subject"


async def answer(bus: Bus, subject: str, payload: bytes = b"{}", headers: Headers | None = None) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(await bus.request(subject, payload, headers, timeout_s=5.0))
    return found


async def code(bus: Bus, subject: str, headers: Headers | None = None, payload: bytes = b"{}") -> int:
    """0: stored."""
    found: int = (await answer(bus, subject, payload, headers)).get("error", {}).get("err_code", 0)
    return found


async def last_sequence(bus: Bus, stream: str) -> int:
    found: int = msgspec.json.decode(await bus.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"]
    return found


async def settle(bus: Bus, streams: Streams) -> None:
    """Until the broker has taken what this connection has sent, subscriptions included."""
    await last_sequence(bus, streams.events)


class Heard:
    """What a subscription has been given."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def data(self) -> list[bytes]:
        return [message.data for message in self.messages]

    async def count(self, count: int) -> None:
        await until(lambda: len(self.messages) >= count, SOON_S, f"{count} messages")


def part(number: int | str, *, batch: str = "b", commit: str | None = None, **more: str) -> Headers:
    """Headers of one message of a batch; `__` in a name stands for a hyphen."""
    headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
    if commit is not None:
        headers["Nats-Batch-Commit"] = commit
    return headers | {name.replace("__", "-"): value for name, value in more.items()}


async def eventually(ask: Callable[[], Any], what: str) -> None:
    await until(ask, SOON_S, what)
