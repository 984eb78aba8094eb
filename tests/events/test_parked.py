"""What cannot be understood is a parked record, in both implementations of the log."""

import msgspec
import pytest

from events.log import Position, verify_position
from events.worker import WorkerStopped
from tests.events.conftest import Port
from tests.events.examples import cancelled, enveloped
from tests.events.reading import everything

# What cannot be understood


def _with(changes: dict[str, object], event: dict[str, object] | None = None) -> bytes:
    message = msgspec.to_builtins(enveloped(WorkerStopped(worker_id="w1", incarnation=4)))
    message["event"] |= event or {}
    return msgspec.json.encode(message | changes)


STOPPED = "worker.w1.stopped"
STRANGE: list[tuple[str, str, bytes, str]] = [
    ("nothing", STOPPED, b"", "malformed: "),
    ("no JSON", STOPPED, b"{\xff\xfe\x00", "malformed: "),
    ("another JSON", STOPPED, b'["worker.stopped"]', "malformed: "),
    ("deep", STOPPED, b"[" * 100_000, "malformed: "),
    ("garbage", STOPPED, bytes(range(256)) * 400, "malformed: "),
    ("unknown kind", "worker.w1.exploded", _with({}, {"kind": "worker.exploded"}), "unknown kind 'worker.exploded'"),
    ("newer version", STOPPED, _with({"version": 2}), "it is of version 2; this program knows up to 1: upgrade it"),
    ("version 0", STOPPED, _with({"version": 0}), "malformed worker.stopped of version 0"),
    ("wrong type", STOPPED, _with({}, {"incarnation": "four"}), "Expected `int`, got `str` - at `$.event.incarnation`"),
    ("bad id", STOPPED, _with({}, {"worker_id": "w.1"}), "malformed worker.stopped of version 1"),
    ("time without a zone", STOPPED, _with({"time": "2026-01-01T00:00:00"}), "timezone"),
    ("not its subject", "worker.w2.stopped", _with({}), "does not belong on subject"),
    ("subject that ends alike", "worker.w2.worker.w1.stopped", _with({}), "does not belong on subject"),
    ("subject that begins alike", "worker.w1.stopped.worker.w1", _with({}), "does not belong on subject"),
]


@pytest.mark.parametrize(("tail", "payload", "problem"), [row[1:] for row in STRANGE], ids=[row[0] for row in STRANGE])
async def test_what_cannot_be_understood_is_a_parked_record(
    port: Port, tail: str, payload: bytes, problem: str
) -> None:
    await port.log.append([cancelled()])
    await port.inject(tail, payload)
    await port.log.append([cancelled()])
    good, parked, after = await everything(port.log)
    assert (good.problem, after.problem) == (None, None)
    assert parked.envelope is None
    assert (parked.sequence, parked.subject, parked.raw) == (2, port.prefix + tail, payload)
    assert problem in (parked.problem or "")
    assert parked.id == ""
    assert await port.log.read_one(2) == parked
    assert await verify_position(port.log, Position(2, ""))


async def test_numbers_that_json_can_hold_and_we_cannot_use(port: Port) -> None:
    payload = _with({}, {"incarnation": 10**30})
    await port.inject(STOPPED, payload)
    (parked,) = await everything(port.log)
    assert parked.envelope is None
