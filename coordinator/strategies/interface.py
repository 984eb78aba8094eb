"""What strategies and launchers are told, what they answer, and how they fail."""

from dataclasses import dataclass
from typing import Protocol

from events.bus import Bus
from events.failures import FailureReason
from events.streams import Streams


class StrategyFailed(Exception):
    """It was tried in vain. The message is a sentence, and ends the attempt; another one may do better."""


class Unavailable(Exception):
    """It cannot be done at all, for this worker or by this coordinator: it is not tried for that worker again before it
    is back, or another policy comes into force. The message is a sentence."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """A worker that has failed, the attempt to bring it back, and what there is to do it with."""

    worker_id: str
    incarnation: int
    """The one that failed."""
    attempt: int
    reason: FailureReason
    host: str
    """Where it ran, by its own words."""
    machine: str | None
    """The same for two workers that share a kernel; None: it could not tell."""
    slots: int
    labels: dict[str, str]
    seconds_left: float
    """Until the attempt counts as failed. What is still under way then is cancelled."""
    launcher: str
    """The policy's; empty: none."""
    bus: Bus
    """The coordinator's own connection."""
    streams: Streams


class Strategy(Protocol):
    """What an attempt consists of. An entry point names a class, or any callable, that gives one without arguments."""

    async def act(self, context: Context) -> str:
        """Does it, and says in a few words what was done. The worker is to register afterwards; nobody need wait for
        that here.

        It may be called again for the same attempt: a leader that takes over cannot know how far the one before had
        come, and begins again. So doing it twice must do no harm.

        Raises:
            StrategyFailed, Unavailable: see there. Anything else counts as a failure as well.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LaunchOrder:
    """A worker to be started, under an id that has been in use. What is left of the older process gives way."""

    worker_id: str
    nats_url: str
    """Where this coordinator reaches the broker."""
    namespace: str
    slots: int
    labels: dict[str, str]
    host: str
    machine: str | None
    seconds_left: float

    @property
    def options(self) -> tuple[str, ...]:
        """What follows `resurgam worker`, or `python -m worker`, on a command line."""
        labels = (option for name, value in sorted(self.labels.items()) for option in ("--label", f"{name}={value}"))
        return (
            *("--worker-id", self.worker_id, "--nats-url", self.nats_url, "--namespace", self.namespace),
            *("--slots", str(self.slots), *labels),
        )


class Launcher(Protocol):
    """Starts workers somewhere. An entry point names a class, or any callable, that gives one without arguments."""

    async def launch(self, order: LaunchOrder) -> str:
        """Starts a process, and says in a few words which. It has to outlive the coordinator.

        It may be called again for the same attempt, or while an older process of that id still runs: the newest one
        becomes the worker.

        Raises:
            StrategyFailed, Unavailable: see there. Anything else counts as a failure as well.
        """
        ...
