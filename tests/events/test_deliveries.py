"""Messages as they come over the wire, read as nats-py reads them."""

import pytest

from events.connection import _Client
from events.delivery import Delivery, Headers
from events.kinds import KINDS

(nats_py,) = _Client.__bases__

BLOCKS = {
    "one": b"NATS/1.0\r\nNats-Msg-Id: 0199\r\n\r\n",
    "several": b"NATS/1.0\r\nA: 1\r\nB:2\r\nC:\t3 \r\n\r\n",
    "none": b"NATS/1.0\r\n\r\n",
    "a colon in the value": b"NATS/1.0\r\ntraceparent: 00:01:02\r\n\r\n",
    "an empty value": b"NATS/1.0\r\nA:\r\n\r\n",
    "no colon": b"NATS/1.0\r\nnonsense\r\nA: 1\r\n\r\n",
    "a space in the name": b"NATS/1.0\r\nA B: 1\r\nC: 2\r\n\r\n",
    "a name that is not ASCII": b"NATS/1.0\r\n\xc3\xa4: 1\r\nC: 2\r\n\r\n",
    "a value that is not UTF-8": b"NATS/1.0\r\nA: \xff\xc3\xa4\r\n\r\n",
    "twice": b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n",
    "nobody listens": b"NATS/1.0 503\r\n\r\n",
    "a question": b"NATS/1.0 100 FlowControl Request\r\n\r\n",
    "a heartbeat": b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\nNats-Last-Stream: 9\r\n\r\n",
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
async def test_headers_are_what_nats_py_makes_of_them(block: bytes) -> None:
    expected = await nats_py()._process_headers(block) or {}
    headers = Headers(block)
    assert dict(headers) == expected
    assert len(headers) == len(expected)
    for name in (*expected, "Nats-Msg-Id", "Status", "Description", "absent"):
        assert Headers(block).get(name) == expected.get(name), "before anything was taken apart"
        assert (name in headers) == (name in expected)


def test_a_message_without_headers() -> None:
    assert Delivery("s", "", b"", b"").headers is None
    assert not hasattr(Delivery("s", "", b"", b""), "__dict__")


def test_no_event_is_looked_at_by_the_collection_of_garbage() -> None:
    """Nothing in them leads back to them, and a backlog holds a hundred thousand."""
    assert [tag for tag, kind in KINDS.items() if kind.__struct_config__.gc] == []
