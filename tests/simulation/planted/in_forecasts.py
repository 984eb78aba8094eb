"""Mistakes about failures that are foreseen."""

from tests.simulation.planted.bug import Bug, bug

FORECASTS: tuple[Bug, ...] = (
    bug(
        "last-worker-renewed",
        "A worker that is about to fail begins anew whether or not anybody else is there to take work meanwhile.",
        (
            "recovery.decide_forecast:_forestalled",
            "if (record is None or record.acts) and dispensable(state, worker):",
            "if record is None or record.acts:",
        ),
    ),
)
