"""Strategies and launchers by name: those that are built in, and those that other distributions offer."""

from collections.abc import Mapping
from typing import Any

from coordinator.strategies.interface import Launcher, Strategy, Unavailable
from coordinator.strategies.reconnect import Reconnect
from coordinator.strategies.replace import Replace
from events.failures import RECONNECT, REPLACE
from events.plugins import PluginError, load

STRATEGIES = "resurgam.strategies"
LAUNCHERS = "resurgam.launchers"


class Toolbox:
    """What is given here goes before what is built in and what is installed. Each is made once, when it is first
    needed."""

    def __init__(
        self, *, strategies: Mapping[str, Strategy] | None = None, launchers: Mapping[str, Launcher] | None = None
    ) -> None:
        self._strategies: dict[str, Strategy] = {RECONNECT: Reconnect(), REPLACE: Replace(self.launcher)}
        self._strategies |= strategies or {}
        self._launchers: dict[str, Launcher] = dict(launchers or {})

    def strategy(self, name: str) -> Strategy:
        """Raises:
        Unavailable: there is none of that name here, or it cannot be made.
        """
        if name not in self._strategies:
            self._strategies[name] = _made(STRATEGIES, name, "act", "strategy")
        return self._strategies[name]

    def launcher(self, name: str) -> Launcher:
        """Raises:
        Unavailable: there is none of that name here, or it cannot be made.
        """
        if name not in self._launchers:
            self._launchers[name] = _made(LAUNCHERS, name, "launch", "launcher")
        return self._launchers[name]


def _made(group: str, name: str, method: str, what: str) -> Any:
    try:
        factory = load(group, name)
    except PluginError as error:
        raise Unavailable(f"this coordinator has no {what} {name!r}: {error}") from error
    try:
        made = factory()
    except Exception as error:
        raise Unavailable(f"{what} {name!r} cannot be made: {type(error).__name__}: {error}") from error
    if not callable(getattr(made, method, None)):
        raise Unavailable(f"{what} {name!r} is a {type(made).__name__}, which has no method {method!r}")
    return made
