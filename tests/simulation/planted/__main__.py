"""Plants one bug after another and runs seeds until it is caught. Exit code 1: one was not."""

import argparse
import sys

from tests.simulation.planted import BUGS
from tests.simulation.planted.hunt import PAGE, SEEDS_MAX, hunt, updated


def main() -> int:
    arguments = _arguments()
    missed = 0
    for name in arguments.names or BUGS:
        hunted = hunt(BUGS[name], arguments.seeds, arguments.processes)
        for sentence in hunted.broken:
            print(f"{name:<32}  no outcome  {sentence}", flush=True)
        if hunted.catch is None:
            missed += 1
            print(f"{name:<32}  not caught by seeds {arguments.seeds.start} to {arguments.seeds.stop - 1}", flush=True)
            continue
        catch = hunted.catch
        print(f"{name:<32}  seed {catch.seed:<4}  {catch.invariant:<18}  {catch.sentence}", flush=True)
        if arguments.write:
            PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), [catch]), encoding="utf-8")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="bugs to hunt; all of them by default")
    parser.add_argument("--seeds", type=_range, default=range(SEEDS_MAX), metavar="A:B", help="default 0:1000")
    parser.add_argument("--processes", type=int, default=2, choices=range(1, 65), metavar="N", help="default 2")
    parser.add_argument("--write", action="store_true", help=f"put what was found into the table of {PAGE}")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in BUGS]:
        parser.error(f"no bug is called {', '.join(unknown)}; there are {', '.join(BUGS)}")
    return arguments


def _range(text: str) -> range:
    first, _, behind = text.partition(":")
    return range(int(first), int(behind))


if __name__ == "__main__":
    sys.exit(main())
