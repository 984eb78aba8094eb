"""Mistakes about failures that are foreseen."""

from tests.simulation.planted.bug import Bug, bug

FORECASTS: tuple[Bug, ...] = (
    bug(
        "old-gauges-held-against-new",
        "What the gauges of a worker's last incarnation foresee is said of the next one, until that one is heard.",
        (
            "recovery.foresight:outlooks",
            "if found is not None and state.trends[worker.worker_id].incarnation == worker.incarnation:",
            "if found is not None:",
        ),
    ),
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
