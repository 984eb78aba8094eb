"""The kernel's part in lifelines (`worker.lifeline`), for hosts in virtual time.

Hosts that share a machine can testify for each other's workers, and each is cut off by itself: so a worker that nobody
reaches may have a witness that somebody does.
"""

from collections.abc import Callable

from worker.lifeline import Lifeline


class Lifelines:
    def __init__(self) -> None:
        self._held: dict[Lifeline, Callable[[], bool]] = {}

    def hold(self, lifeline: Lifeline, held: Callable[[], bool]) -> None:
        """`held` says whether anything is left of its worker."""
        assert lifeline not in self._held, "names are not used twice"
        self._held[lifeline] = held

    def is_held(self, lifeline: Lifeline) -> bool:
        return self._held[lifeline]()
