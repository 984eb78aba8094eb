"""The simulation with a bug in it, by the bug's name: `--simulator tests.simulation.planted.simulators:fence-not-sent`.

A violation counts only where the same scenario is clean without the bug.
"""

import contextlib
import os
import subprocess
import sys
from functools import lru_cache

import msgspec

from tests.simulation.jobs import WORLD, Simulator, simulator
from tests.simulation.planted import BUGS
from tests.simulation.planted.bug import Bug
from tests.simulation.scenario import Outcome, Scenario, Violation

SAME_LOG = "same-log"
"""Not of the log but of two of them: a scenario gives the same one in every process."""
HASH_SEEDS = ("1", "2")
SECONDS_MAX = 600.0
CLEAN_MAX = 256
"""How many verdicts on scenarios without a bug are kept: the bugs are looked for with the same ones."""


def __getattr__(name: str) -> Simulator:
    if name not in BUGS:
        raise AttributeError(f"no bug is called {name!r}")
    planted = BUGS[name]

    run = _apart if planted.shows_between_processes else _here

    def simulate(scenario: Scenario, *, keep_records: bool = False) -> Outcome:
        with_bug = run(planted, scenario, keep_records=keep_records)
        if with_bug.violation is None or is_clean(msgspec.json.encode(scenario), apart=planted.shows_between_processes):
            return with_bug
        return msgspec.structs.replace(with_bug, violation=None)

    return simulate


@lru_cache(CLEAN_MAX)
def is_clean(scenario: bytes, *, apart: bool) -> bool:
    """Without any bug."""
    run = _apart if apart else _here
    return run(None, msgspec.json.decode(scenario, type=Scenario)).violation is None


def _here(planted: Bug | None, scenario: Scenario, *, keep_records: bool = False) -> Outcome:
    with contextlib.nullcontext() if planted is None else planted.planted():
        return simulator(WORLD)(scenario, keep_records=keep_records)


def _apart(planted: Bug | None, scenario: Scenario, *, keep_records: bool = False) -> Outcome:
    """In two processes that hash strings differently."""
    del keep_records  # too many for a pipe
    first, second = (_elsewhere(planted, scenario, hash_seed) for hash_seed in HASH_SEEDS)
    if first.violation is not None or first.digest == second.digest:
        return first
    sentence = f"its log is {first.digest[:12]} with PYTHONHASHSEED={HASH_SEEDS[0]}, {second.digest[:12]} with another"
    return msgspec.structs.replace(first, violation=Violation(SAME_LOG, 0, "", sentence))


def _elsewhere(planted: Bug | None, scenario: Scenario, hash_seed: str) -> Outcome:
    name = "" if planted is None else planted.name
    done = subprocess.run(
        [sys.executable, "-c", f"from tests.simulation.planted import simulators; simulators.answer({name!r})"],
        input=msgspec.json.encode(scenario),
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        timeout=SECONDS_MAX,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Outcome)


def answer(name: str) -> None:
    """Reads a scenario, writes its outcome with the bug of that name, if any: the other end of `_elsewhere`."""
    scenario = msgspec.json.decode(sys.stdin.buffer.read(), type=Scenario)
    outcome = _here(BUGS.get(name), scenario)
    sys.stdout.buffer.write(msgspec.json.encode(msgspec.structs.replace(outcome, records=())))
