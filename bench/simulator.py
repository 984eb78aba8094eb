"""How much virtual time the simulator gets through: five workers with steady work, without faults and with them.

One core, one process. `.venv/bin/python bench/simulator.py --hours 1`
"""

import argparse

from _harness import measuring, show

from tests.simulation.scenario import Outcome, Scenario, Workload
from tests.simulation.world import simulate

AIM = 500.0
"""Simulated hours an hour."""
WORK = Workload(at_start=20, per_minute=6.0, duration_s=(0.1, 20.0))
SEEDS = (1, 2, 3)


def run(seed: int, hours: float, faults: int) -> Outcome:
    faulty_s = hours * 3600.0
    outcome = simulate(
        Scenario(seed=seed, workers=5, coordinators=2, faulty_s=faulty_s, workload=WORK, faults_count=faults)
    )
    if outcome.violation is not None:
        raise SystemExit(f"seed {seed}: {outcome.violation}")
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="virtual hours of each run")
    hours: float = parser.parse_args().hours
    with measuring("simulated hours in an hour of processor time"):
        for name, faults in (("without faults", 0), ("with 100 faults an hour", round(100 * hours))):
            outcomes = [run(seed, hours, faults) for seed in SEEDS]
            speeds = [outcome.virtual_s / outcome.wall_s for outcome in outcomes]
            share = sorted(speeds)[len(speeds) // 2] / AIM
            show(name, speeds, "h/h", 0, note=f"{share:.2f} of the aim of {AIM:g}")
            heartbeats = [outcome.wall_s / outcome.heartbeats * 1e6 for outcome in outcomes]
            show("  a heartbeat, with all that belongs to it", heartbeats, "us", 0)


if __name__ == "__main__":
    main()
