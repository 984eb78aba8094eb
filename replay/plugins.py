"""Detectors that other distributions bring along (entry point group `resurgam.detectors`)."""

from functools import cache

import structlog

from events.plugins import PluginError, load
from recovery.detectors import Detector, look_elsewhere

log = structlog.get_logger(__name__)

DETECTORS = "resurgam.detectors"


def use_installed_detectors() -> None:
    """For this process, before it folds anything. Costs nothing until a policy names one."""
    look_elsewhere(_installed)


@cache
def _installed(name: str) -> type[Detector] | None:
    try:
        found = load(DETECTORS, name)
    except PluginError as error:
        log.warning("detector_not_installed", detector=name, error=str(error))
        return None
    if isinstance(found, type) and issubclass(found, Detector):
        return found
    log.warning("detector_not_installed", detector=name, error=f"{found!r} is no subclass of {Detector.__qualname__}")
    return None
