"""The whole system under simulation: a bounded campaign, and every bug that it has found, by its seed.

`make simulate` runs more of the same. A seed that fails here fails in the same way everywhere:
`resurgam simulate --seeds N:N+1` tells its story.
"""

import os
import subprocess
import sys

import pytest

from tests.simulation.scenario import Outcome, Scenario
from tests.simulation.schedule import scenario_of
from tests.simulation.world import simulate

SEEDS = 60
BLOCK = 5

SCRIPT = """
import sys
from tests.simulation.schedule import scenario_of
from tests.simulation.world import simulate
for seed in map(int, sys.argv[1:]):
    print(simulate(scenario_of(seed)).digest)
"""


def clean(outcome: Outcome) -> Outcome:
    assert outcome.violation is None, f"{outcome.violation}; resurgam simulate --seeds N:N+1 tells its story"
    return outcome


def test_a_farm_without_faults_passes_everything() -> None:
    outcome = clean(
        simulate(Scenario(seed=3, workers=3, coordinators=2, projector=True, faulty_s=30.0, faults_count=0))
    )
    assert outcome.tasks == 20
    assert sum(outcome.verdicts.values()) == 20
    assert set(outcome.verdicts) <= {"passed", "failed", "timed_out"}
    assert outcome.faults == {}


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_seeds(first: int) -> None:
    for seed in range(first, first + BLOCK):
        outcome = simulate(scenario_of(seed))
        assert outcome.violation is None, f"seed {seed}: {outcome.violation}"


def test_one_seed_gives_one_log_in_every_process() -> None:
    seeds = ["11", "12", "16"]
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, *seeds],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for hash_seed in ("1", "271828")
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == len(seeds)


def test_a_standby_does_not_spin_over_what_only_a_leader_may_decide() -> None:
    """A timer that had come due kept every standby busy until the leader's decision arrived: for ever, without one."""
    clean(simulate(Scenario(seed=1, workers=3, coordinators=2, faulty_s=30.0, faults_count=0)))
