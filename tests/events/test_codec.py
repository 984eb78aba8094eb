"""Bytes and events: golden messages, versions, subjects, and what a decoder must survive."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events import codec
from events.base import INTEGER_MAX, Event
from events.envelope import SYNTHETIC_HEADER
from events.kinds import KINDS, tag_of
from events.subjects import matches
from events.task import TaskCancelRequested
from events.worker import WorkerStopped
from tests.events import goldens
from tests.events.examples import EXAMPLES, enveloped

FILES = sorted(path.name for path in goldens.FOLDER.iterdir())


def test_there_is_an_example_of_every_kind() -> None:
    assert [tag_of(type(event)) for event in EXAMPLES] == list(KINDS)


def test_examples_give_every_field() -> None:
    for event in EXAMPLES:
        for name, default in zip(reversed(event.__struct_fields__), reversed(event.__struct_defaults__), strict=False):
            assert getattr(event, name) != default, f"{tag_of(type(event))}.{name}"


def test_golden_files_are_fresh() -> None:
    stored = {name: (goldens.FOLDER / name).read_bytes() for name in FILES}
    assert stored == goldens.current(), "run `python -m tests.events.goldens`, if the change is meant"


@pytest.mark.parametrize("name", FILES)
def test_golden_messages_are_understood(name: str) -> None:
    path: Path = goldens.FOLDER / name
    event = next(event for event in EXAMPLES if f"{tag_of(type(event))}.json" == name)
    recorded = codec.decode(1, 1.0, f"resurgam.event.{event.tail()}", path.read_bytes(), None)
    assert recorded.problem is None
    assert recorded.envelope == enveloped(event)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: tag_of(type(event)))
def test_every_event_knows_its_subject(event: Event) -> None:
    family, kind = tag_of(type(event)).split(".")
    tokens = event.tail().split(".")
    assert tokens[0] == family
    assert kind in tokens
    for subject in (event.tail(), f"resurgam.event.{event.tail()}", f"another-system.event.{event.tail()}"):
        assert codec.decode(1, 1.0, subject, codec.encode(enveloped(event)), None).event == event
    for subject in (
        f"resurgam.{event.tail()}",
        f"resurgam.event.x.{event.tail()}",
        f"resurgam.event.x{event.tail()}",
        f"resurgam.event.{event.tail()}.x",
        f".{event.tail()}",
        f"x.y.event.{event.tail()}",
        "",
    ):
        recorded = codec.decode(1, 1.0, subject, codec.encode(enveloped(event)), None)
        assert recorded.event is None
        assert "does not belong on subject" in (recorded.problem or "")


def test_what_is_addressed_to_a_worker_ends_in_its_id() -> None:
    addressed = [event for event in EXAMPLES if matches("task.*.*.w1", event.tail())]
    assert {tag_of(type(event)) for event in addressed} == {"task.assigned", "task.revoked"}


def test_headers_carry_the_label() -> None:
    payload = codec.encode(enveloped(EXAMPLES[0]))
    for headers, label in ((None, None), ({}, None), ({SYNTHETIC_HEADER: "drill"}, "drill")):
        assert codec.decode(1, 1.0, EXAMPLES[0].tail(), payload, headers).synthetic == label
        assert codec.decode(1, 1.0, EXAMPLES[0].tail(), b"garbage", headers).synthetic == label


@given(st.binary(max_size=300), st.text(max_size=40))
@example(b"\xef\xbb\xbf{}", "resurgam.event.worker.w1.stopped")
def test_no_bytes_break_the_decoder(payload: bytes, subject: str) -> None:
    recorded = codec.decode(7, 1.0, subject, payload, None)
    assert recorded.envelope is None
    assert recorded.raw == payload
    assert recorded.problem


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(EXAMPLES), st.data())
def test_no_field_of_the_wrong_shape_breaks_the_decoder(event: Event, data: st.DataObject) -> None:
    message: dict[str, Any] = msgspec.json.decode(codec.encode(enveloped(event)))
    part = message if data.draw(st.booleans()) else message["event"]
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(JSON)
    payload = msgspec.json.encode(message) if _fits(message) else b"1"
    recorded = codec.decode(1, 1.0, event.tail(), payload, None)
    if recorded.envelope is not None:
        # What is understood can be written again, and is the same again.
        again = codec.encode(recorded.envelope)
        assert codec.decode(1, 1.0, event.tail(), again, None) == recorded


def _fits(message: object) -> bool:
    try:
        msgspec.json.encode(message)
    except OverflowError:
        return False
    return True


@pytest.mark.parametrize("number", [INTEGER_MAX + 1, 2**63, 10**30])
def test_numbers_that_not_every_reader_can_hold_are_refused(number: int) -> None:
    payload = codec.encode(enveloped(WorkerStopped(worker_id="w1", incarnation=4)))
    strange = payload.replace(b'"incarnation":4', f'"incarnation":{number}'.encode())
    assert strange != payload
    assert codec.decode(1, 1.0, "worker.w1.stopped", strange, None).event is None


# Versions


@pytest.fixture
def third_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if task.cancel_requested were in its third version: `who` was split from `by`, then renamed to `actor`."""
    kind = "task.cancel_requested"
    monkeypatch.setitem(codec.VERSIONS, kind, 3)
    monkeypatch.setitem(codec.UPCASTERS, (kind, 1), lambda event: {**event, "who": event["by"].upper(), "by": None})
    monkeypatch.setitem(codec.UPCASTERS, (kind, 2), lambda event: {**event, "actor": event["who"]})


def version(number: int, **event: object) -> bytes:
    envelope = enveloped(TaskCancelRequested(task_id="t1", actor="x"))
    message: dict[str, Any] = msgspec.to_builtins(envelope)
    del message["event"]["actor"]
    message["event"] |= event
    return msgspec.json.encode(message | {"version": number})


@pytest.mark.parametrize(
    ("payload", "actor"),
    [
        (version(1, by="alice"), "ALICE"),
        (version(2, who="Bob"), "Bob"),
        (version(3, actor="Carol"), "Carol"),
        # An old message may happen to fit the new shape; its upcasters have their say all the same.
        (version(2, who="Bob", actor="nobody"), "Bob"),
    ],
)
@pytest.mark.usefixtures("third_version")
def test_old_versions_go_through_their_upcasters(payload: bytes, actor: str) -> None:
    recorded = codec.decode(1, 1.0, "task.t1.cancel_requested", payload, None)
    assert recorded.problem is None
    assert recorded.event == TaskCancelRequested(task_id="t1", actor=actor)
    assert recorded.envelope is not None
    assert recorded.envelope.version == 3


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (version(4, actor="Dora"), "it is of version 4; this program knows up to 3: upgrade it"),
        (version(4, unheard_of="Dora"), "malformed task.cancel_requested of version 4"),
        (version(1, unheard_of="alice"), "it does not fit version 1: KeyError('by')"),
        (version(1, by=7), "it does not fit version 1: AttributeError"),
        (version(2, who=7), "Expected `str`, got `int`"),
        (version(0, actor="Carol"), "version 0"),
    ],
)
@pytest.mark.usefixtures("third_version")
def test_versions_that_do_not_fit_are_parked(payload: bytes, problem: str) -> None:
    recorded = codec.decode(1, 1.0, "task.t1.cancel_requested", payload, None)
    assert recorded.event is None
    assert problem in (recorded.problem or "")


@pytest.mark.usefixtures("third_version")
def test_a_version_without_an_upcaster_is_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(codec.UPCASTERS, ("task.cancel_requested", 2))
    for payload in (version(1, by="alice"), version(2, who="Bob")):
        recorded = codec.decode(1, 1.0, "task.t1.cancel_requested", payload, None)
        assert "version 2 has no upcaster" in (recorded.problem or "")


@pytest.mark.usefixtures("third_version")
def test_other_kinds_keep_their_version() -> None:
    event = WorkerStopped(worker_id="w1", incarnation=4)
    assert codec.decode(1, 1.0, event.tail(), codec.encode(enveloped(event)), None).event == event
    newer = codec.decode(1, 1.0, event.tail(), codec.encode(enveloped(event, version=2)), None)
    assert "knows up to 1" in (newer.problem or "")
