"""Events, lengths of time and incidents in words."""

from typing import Any

import pytest

from projections.report.words import VALUE_CHARACTERS_MAX, facts, fields_of, later, seconds


def test_fields_of_an_event() -> None:
    payload: dict[str, Any] = {
        "kind": "worker.recovery_started",
        "worker_id": "w1",
        "attempt": 2,
        "deadline": "2026-11-30T21:57:58.640460Z",
        "duration_s": 0.30213512,
        "message": "two\n  lines",
        "error": "",
        "evidence": {"silence_s": 15.0},
        "considered": [1, 2],
    }
    assert fields_of(payload) == "attempt=2 deadline=2026-11-30 21:57:58 duration_s=0.302135 message=two lines"
    [said] = fields_of({"message": "x" * 500}).split()
    assert len(said) == len("message=") + VALUE_CHARACTERS_MAX


@pytest.mark.parametrize(
    ("length", "said", "after"),
    [
        (0.0312, "31 ms", "0.031 s"),
        (2.0, "2.0 s", "2.000 s"),
        (205, "3 min", "3:25"),
        (3607, "60 min", "1:00:07"),
        (30_000, "8.3 h", "8:20:00"),
        (400_000, "4.6 d", "111:06:40"),
    ],
)
def test_lengths_of_time(length: float, said: str, after: str) -> None:
    assert (seconds(length), later(length)) == (said, after)


def test_an_incident_with_a_report_of_its_own() -> None:
    row = {
        "id": 3,
        "incident_id": "i1",
        "began_at": "2026-11-30T21:56:44.421123",
        "ended_at": None,
        "success": None,
        "report": {
            "sequences": [1, 2],
            "incident_id": "i1",
            "stages": [{"workers": 1, "outcome": "good"}, {"workers": 2, "outcome": "good"}],
            "repairs": {"started": 3, "succeeded": 2},
            "names": ["w1", "w2"],
        },
    }
    assert facts(row) == [
        ("incident id", "i1"),
        ("stages", "workers=1 outcome=good; workers=2 outcome=good"),
        ("repairs", "started=3 succeeded=2"),
        ("names", "w1; w2"),
        ("began at", "2026-11-30 21:56:44"),
        ("ended at", "it is open"),
    ]
