"""A request that is cancelled in the very moment in which its answer comes.

An agent that wakes up after a pause finds answers and orders in one heap, so this is an ordinary moment there. It left
the heart of a given-up incarnation beating, and kept the worker from ending.
"""

import asyncio
from typing import Any

import pytest

from events.bus import Bus, Message
from events.connection import Connection
from tests.conftest import BrokerProcess
from tests.waiting import until


class Answering:
    """Asks as nats-py does, and lets the test say when the answer is there."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    async def request(self, subject: str, payload: bytes, **settings: Any) -> Message:
        return await asyncio.wait_for(self.answer, settings["timeout"])


@pytest.mark.parametrize("kind", ["answer", "error"])
async def test_a_cancellation_is_not_lost_to_an_answer(bus: Bus, broker: BrokerProcess, kind: str) -> None:
    message: list[Message] = []

    async def take(received: Message) -> None:
        message.append(received)

    await bus.subscribe("somewhere", take)
    await bus.publish("somewhere")
    await until(lambda: message, what="a message to answer with")

    client = Answering()
    asking = asyncio.create_task(Connection(client, broker.url).request("somewhere"))  # type: ignore[arg-type]
    await until(lambda: client.answer._callbacks, what="somebody to wait")
    if kind == "answer":
        client.answer.set_result(message[0])
    else:
        client.answer.set_exception(OSError("gone"))
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
