"""The kernel's part in lifelines (`worker.lifeline`), for hosts in virtual time.

Hosts that share a machine can testify for each other's workers, and each is cut off by itself: so a worker that nobody
reaches may have a witness that somebody does.
"""

from collections import Counter
from collections.abc import Callable

from worker.lifeline import Lifeline


class Lifelines:
    def __init__(self) -> None:
        self._held: dict[Lifeline, Callable[[], bool]] = {}
        self._lives: Counter[str] = Counter()

    def hold(self, machine: str, worker_id: str, held: Callable[[], bool]) -> Lifeline:
        """A name that is not used twice. `held` says whether anything is left of its worker."""
        self._lives[worker_id] += 1
        lifeline = Lifeline(machine, f"{worker_id}-{self._lives[worker_id]}")
        self._held[lifeline] = held
        return lifeline

    def is_held(self, lifeline: Lifeline, machine: str) -> bool:
        """Asked on that machine.

        Raises:
            ValueError: it is another machine's.
        """
        if lifeline.machine != machine:
            raise ValueError(f"{machine} cannot look at the processes of {lifeline.machine}")
        return self._held[lifeline]()
