"""`resurgam run` against pytest-xdist: the same suite, the same arguments, as many workers, one after the other.

The suite's interpreter is a throw-away environment with pytest and pytest-xdist and nothing else; where it cannot be
made, our own, without the plugins that only our own tests need. `.venv/bin/python bench/run_suite.py --workers 3`
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from _harness import Taken, Usage, folder, measuring, ratio, show

NAME = "resurgam"
PLAIN_PLUGINS = ("-p", "no:asyncio", "-p", "no:hypothesispytest", "-p", "no:timeout")
FILES = 20
RUN_S_MAX = 60
INSTALL_S_MAX = 40
STRANGE = ("RESURGAM_", "PYTEST_", "PYTHONDONTWRITEBYTECODE")
"""Beginnings of variables that make another program of either: without bytecode on disk, every process compiles."""
ENOUGH_S = 30
"""On a busy machine every variant is measured once, and some not again."""
TEST = """
import time
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_short(number):
    {body}
"""


class Variant(NamedTuple):
    title: str
    body: str
    tests: int
    rounds: int


class Suite(NamedTuple):
    python: Path
    arguments: tuple[str, ...]


def plain_python(place: Path) -> Suite:
    """An environment that holds what a suite needs."""
    venv = place / "venv"
    python = venv / "bin" / "python"
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=INSTALL_S_MAX)
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pytest", "pytest-xdist"],
            check=True,
            timeout=INSTALL_S_MAX,
            capture_output=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        print(f"no environment of its own ({error}): {sys.executable} without some plugins")
        return Suite(Path(sys.executable), PLAIN_PLUGINS)
    return Suite(python, ())


def write_suite(place: Path, variant: Variant) -> Path:
    suite = place / f"suite-{variant.title.partition(' ')[0]}"
    suite.mkdir()
    (suite / "pytest.ini").write_text("[pytest]\n")
    for number in range(FILES):
        text = TEST.format(tests=variant.tests // FILES, body=variant.body)
        (suite / f"test_{number}.py").write_text(text)
    return suite


def taken(command: list[str], folder: Path, expected: int) -> Taken:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(STRANGE)}
    before, began = Usage.of_children(), time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
    )
    wall_s, cpu_s = time.perf_counter() - began, Usage.of_children().cpu_s - before.cpu_s
    if done.returncode or f"{expected} passed" not in done.stdout:
        print(f"{command[0]} ended with code {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return Taken(wall_s, cpu_s)


def compare(place: Path, suite: Suite, variant: Variant, workers: int, enough_at: float) -> None:
    where = write_suite(place, variant)
    arguments = [*suite.arguments, "-q", "-p", "no:cacheprovider"]
    ours = [str(Path(sys.executable).parent / NAME), "run", "--workers", str(workers), "--python", str(suite.python)]
    theirs = [str(suite.python), "-m", "pytest", "-n", str(workers)]
    run: dict[str, list[Taken]] = {"ours": [], "theirs": []}
    for _ in range(variant.rounds):
        if run["ours"] and time.perf_counter() > enough_at:
            break
        run["ours"].append(taken([*ours, "--", *arguments], where, variant.tests))
        run["theirs"].append(taken([*theirs, *arguments], where, variant.tests))
    print(f"{variant.tests} tests, {variant.title}")
    wall = {who: [one.wall_s for one in all_of] for who, all_of in run.items()}
    show(f"  resurgam run --workers {workers}", wall["ours"], "s", 2, note=_cpu(run["ours"]))
    show(f"  pytest -n {workers}", wall["theirs"], "s", 2, note=_cpu(run["theirs"]))
    print(f"  resurgam / xdist: {ratio(wall['ours'], wall['theirs']):.2f}", flush=True)


def _cpu(runs: list[Taken]) -> str:
    return "processor " + ", ".join(f"{one.cpu_s:.2f}" for one in runs) + " s"


VARIANTS = (
    Variant("trivial", "assert True", 1000, 3),
    Variant("5 ms each", "time.sleep(0.005)", 1000, 2),
    Variant("20 ms each", "time.sleep(0.02)", 1000, 1),
)


def main(workers: int) -> None:
    enough_at = time.perf_counter() + ENOUGH_S
    with folder() as place:
        suite = plain_python(place)
        for variant in VARIANTS:
            compare(place, suite, variant, workers, enough_at)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=3)
    arguments = parser.parse_args()
    with measuring("A suite of 1,000 short tests; target: at most 1.3 times xdist's time"):
        main(arguments.workers)
