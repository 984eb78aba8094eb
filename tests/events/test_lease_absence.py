"""How a candidate for the lease knows that the broker was away, and not itself."""

import pytest

from events.bus import Bus
from events.errors import BrokerRefused, Unacknowledged
from events.lease import Absence, Lease, LeaseHolder
from events.streams import Streams

STORED = b'{"stream": "LEASES", "seq": 7}'
TAKEN = b'{"error": {"code": 400, "err_code": 10071, "description": "wrong last sequence: 7"}}'
REFUSED = b'{"error": {"code": 503, "err_code": 10077, "description": "insufficient resources"}}'


class Answering:
    """A broker that answers as it is told to, and the clock of who asks. None: it does not."""

    def __init__(self) -> None:
        self.now = 100.0
        self.answer: bytes | None = STORED

    async def request(self, *_: object, **__: object) -> bytes:
        if self.answer is None:
            self.now += 1.0
            raise Unacknowledged("lease", "no answer")
        return self.answer


@pytest.fixture
def broker() -> Answering:
    return Answering()


@pytest.fixture
def lease(broker: Answering) -> Lease:
    bus: Bus = broker  # type: ignore[assignment]
    return Lease(bus, Streams(), LeaseHolder("c1", "nonce"), monotonic=lambda: broker.now)


def absence_of(lease: Lease) -> Absence | None:
    return lease.absence


@pytest.mark.parametrize("answer", [STORED, TAKEN], ids=["it gets the lease", "another has it"])
async def test_an_absence_lasts_from_the_first_try_in_vain_to_the_first_answer(
    broker: Answering, lease: Lease, answer: bytes
) -> None:
    assert await lease.acquire_or_renew()
    broker.answer = None
    for _ in range(6):
        assert not await lease.acquire_or_renew()
    assert absence_of(lease) is None, "it lasts"
    broker.answer = answer
    assert await lease.acquire_or_renew() == (answer == STORED)
    assert absence_of(lease) == Absence(100.0, 106.0)
    await lease.acquire_or_renew()
    assert absence_of(lease) == Absence(100.0, 106.0)


async def test_one_try_in_vain_may_be_the_own_sleep(broker: Answering, lease: Lease) -> None:
    broker.answer = None
    assert not await lease.acquire_or_renew()
    broker.now += 60.0
    broker.answer = STORED
    assert await lease.acquire_or_renew()
    assert absence_of(lease) is None


async def test_a_broker_that_refuses_is_away_as_well(broker: Answering, lease: Lease) -> None:
    broker.answer = REFUSED
    for _ in range(3):
        with pytest.raises(BrokerRefused):
            await lease.acquire_or_renew()
        broker.now += 2.0
    broker.answer = STORED
    assert await lease.acquire_or_renew()
    assert absence_of(lease) == Absence(100.0, 106.0)
