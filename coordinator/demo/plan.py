"""What one demo is asked to do, and what it runs: the example suite that lies beside the code."""

import sys
from pathlib import Path

import msgspec

from coordinator.faults import UsageFault
from events.work import Suite

WORKERS_MIN, WORKERS_MAX = 2, 32
RUN_TIME_S_MIN = 25.0
SUITE_S = 31.0
"""What the example suite takes on one worker."""

STEPS_S = 17.0
"""What the steps take that no test runs in, and what the reserve below takes, on a machine that is busy."""

RESERVE_S = 4.0
"""Of the run time, for stopping everything when the rest was not enough."""

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "shop"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    workers: int
    run_time_s: float
    state_dir: Path
    suite: Suite
    actor: str
    reading_s: float
    """A pause behind each step, for somebody who reads along; 0 where nobody does."""

    @property
    def worker_ids(self) -> list[str]:
        return [f"worker-{number}" for number in range(1, self.workers + 1)]

    @property
    def db_path(self) -> Path:
        return self.state_dir / "history.duckdb"

    @property
    def share(self) -> float:
        """Of the suite that is run: what fits the run time."""
        return min(1.0, (self.run_time_s - STEPS_S) * self.workers / SUITE_S)


def example_suite() -> Suite:
    """The bundled project.

    Raises:
        UsageFault: it is not there, as in an installation without the repository.
    """
    if not (EXAMPLE / "tests").is_dir():
        raise UsageFault(
            f"the demo runs the example project of the repository, and there is no {EXAMPLE}: run it from a checkout "
            f"('make demo')"
        )
    return Suite(python=sys.executable, cwd=str(EXAMPLE), args=("tests", "-p", "no:cacheprovider"))


def check_numbers(workers: int, run_time_s: float) -> None:
    """Raises:
    UsageFault: one of them cannot work.
    """
    if not WORKERS_MIN <= workers <= WORKERS_MAX:
        raise UsageFault(
            f"--num-workers {workers}: the demo takes {WORKERS_MIN} to {WORKERS_MAX}, because the work of a worker "
            f"that is killed goes to another one"
        )
    if not RUN_TIME_S_MIN <= run_time_s < float("inf"):
        raise UsageFault(
            f"--run-time {run_time_s:g}: the demo needs {RUN_TIME_S_MIN:g} seconds at least, and "
            f"{STEPS_S + SUITE_S / workers:.0f} for the whole suite on {workers} workers"
        )


def fresh_folder(folder: Path) -> Path:
    """Makes the folder of a demo.

    Raises:
        UsageFault: something is in it already, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as error:
        raise UsageFault(f"--state-dir {folder} cannot be used: {error.strerror}") from error
    if occupied:
        raise UsageFault(f"--state-dir {folder} is not empty: a demo begins with an empty log, give it a new folder")
    return folder.absolute()


def shown(path: Path) -> str:
    """Relative where it lies beneath the present folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
