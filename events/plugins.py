"""What other distributions bring along: objects that they offer under a name in an entry point group of ours."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any


class PluginError(Exception):
    """There is no such plugin, or it cannot be loaded. The message is a sentence."""


def offered(group: str) -> dict[str, EntryPoint]:
    """By name. Of two that bear one name, the one that is found first counts, as it does for imports."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, entry)
    return found


def load(group: str, name: str) -> Any:
    """What is offered under that name.

    Raises:
        PluginError: nobody offers it, or what is offered cannot be imported.
    """
    entries = offered(group)
    if name not in entries:
        others = ", ".join(sorted(entries)) or "none"
        raise PluginError(f"nobody offers it in the entry point group {group}, where there are: {others}")
    try:
        return entries[name].load()
    except Exception as error:
        raise PluginError(f"{entries[name].value!r} cannot be loaded: {type(error).__name__}: {error}") from error
