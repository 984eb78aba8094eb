"""Readers whose consumer nobody makes: a cluster may give it to a node that has just died."""

from collections.abc import Callable
from typing import Any

import pytest

from events.bus import Bus
from events.errors import NobodyListens, NotReady, Unacknowledged
from events.jetstream import JetStreamLog
from events.reader import CREATE_S_MAX, RawReader
from events.streams import Streams
from tests.events.examples import cancelled

Unanswering = Callable[[int, Unacknowledged], list[float]]


@pytest.fixture
def unanswering(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> Unanswering:
    """Makes so many requests for a consumer fail, at once; how long each would have waited is told."""

    def fail(times: int, error: Unacknowledged) -> list[float]:
        api = bus.api
        waited: list[float] = []

        async def failing(verb: str, body: Any = None, *, timeout_s: float = 5.0) -> bytes:
            if verb.startswith("CONSUMER.CREATE.") and len(waited) < times:
                waited.append(timeout_s)
                raise error
            return await api(verb, body, timeout_s=timeout_s)

        monkeypatch.setattr(bus, "api", failing)
        return waited

    return fail


async def test_each_try_waits_longer(bus: Bus, log: JetStreamLog, streams: Streams, unanswering: Unanswering) -> None:
    waited = unanswering(2, Unacknowledged("no answer"))
    await log.append([cancelled()])
    reader = await RawReader(bus, streams.events, after=0).start()
    assert waited == [0.75, 1.5]
    ((sequence, _, _),) = await reader.next(5)
    assert sequence == 1
    await reader.close()


async def test_tries_have_an_end(bus: Bus, streams: Streams, unanswering: Unanswering) -> None:
    waited = unanswering(100, Unacknowledged("no answer"))
    with pytest.raises(Unacknowledged):
        await RawReader(bus, streams.events, after=0).start()
    assert waited == [0.75, 1.5, CREATE_S_MAX]


@pytest.mark.parametrize("error", [NotReady("nobody leads"), NobodyListens("nobody there")])
async def test_what_is_answered_at_once_is_not_waited_for(
    bus: Bus, streams: Streams, unanswering: Unanswering, error: Unacknowledged
) -> None:
    waited = unanswering(100, error)
    with pytest.raises(type(error)):
        await RawReader(bus, streams.events, after=0).start()
    assert waited == [0.75]
