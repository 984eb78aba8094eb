"""The detectors and settings that are tried, and how the command line names them."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, get_type_hints

import msgspec
from msgspec.inspect import FloatType, type_info

from events.policy import DetectorName, Policy
from replay.access import CannotReplay

NAMES: tuple[str, ...] = (
    "suspect_after",
    "self_fence_after",
    "failed_after",
    *(name for name in Policy.__struct_fields__ if name.startswith("phi_")),
)
"""The settings of the policy that a detector heeds, or that are tied to them."""
HEEDED: dict[DetectorName, tuple[str, ...]] = {
    "phi": NAMES,
    "deadline": tuple(name for name in NAMES if not name.startswith("phi_")),
}
FORMS = get_type_hints(Policy, include_extras=True)
FENCE_SHARE = 0.8
"""Of `failed_after`: where a fence is put that a setting does not name, and that would come too late."""

DEADLINE_INTERVALS = (3.5, 4.0, 5.0, 6.0, 7.5, 10.0, 15.0)
"""Silences, in heartbeat intervals, after which deadline detectors fail a worker."""
PHI_FAILED = (1.0, 2.0, 4.0, 8.0, 12.0, 20.0, 40.0)
FLOOR_INTERVALS = 3.5
"""The least silence after which the phi detectors that are tried fail a worker. Suspicion takes three by the policy."""
CEILING = 10.0
"""The most, in multiples of that."""


class Setting(NamedTuple):
    name: str
    policy: Policy
    in_force: bool = False
    """It is that of the recording, as it was at each time and with its overrides for some of the workers, and `policy`
    is what it was at the end; all others treat everybody alike, all the time."""

    @property
    def detector(self) -> DetectorName:
        return self.policy.detector


def in_force(policy: Policy) -> Setting:
    return Setting(f"{policy.detector} as recorded", policy, in_force=True)


def usual_settings(policy: Policy) -> list[Setting]:
    """What is tried when nobody asks for anything: each detector from hasty to patient, at the recorded pace."""
    interval = policy.heartbeat_interval
    floor = FLOOR_INTERVALS * interval
    deadlines = [
        setting(policy, "deadline", {"suspect_after": 3 * interval, "failed_after": many * interval})
        for many in DEADLINE_INTERVALS
    ]
    phis = [
        setting(
            policy,
            "phi",
            {
                "suspect_after": 3 * interval,
                "failed_after": floor,
                "phi_failed": phi,
                "phi_suspect": min(phi, policy.phi_suspect),
                "phi_patience_max": CEILING,
            },
            shown=("phi_failed",),
        )
        for phi in PHI_FAILED
    ]
    return [*deadlines, *phis]


def parsed(text: str, policy: Policy) -> Setting:
    """`phi`, or `deadline:suspect_after=6,failed_after=10`. What is not given is as in `policy`.

    Raises:
        CannotReplay: there is no such detector or setting, or the settings contradict each other.
    """
    named, _, rest = text.partition(":")
    detector = next((known for known in HEEDED if known == named.strip()), None)
    if detector is None:
        raise CannotReplay(f"--setting {text!r}: there is no detector {named!r}; {_near(named, HEEDED)}")
    try:
        changes = _changes(rest.split(",") if rest else (), detector)
        return setting(policy, detector, changes, shown=tuple(changes))
    except ValueError as error:
        raise CannotReplay(f"--setting {text!r}: {error}") from error


def _changes(pairs: Iterable[str], detector: DetectorName) -> dict[str, float]:
    changes: dict[str, float] = {}
    for pair in pairs:
        name, separator, given = (part.strip() for part in pair.partition("="))
        if name not in NAMES:
            raise ValueError(f"there is no setting {name!r}; {_near(name, NAMES)}")
        if name not in HEEDED[detector]:
            raise ValueError(f"{name} makes no difference to {detector!r}; there are {', '.join(HEEDED[detector])}")
        if name in changes:
            raise ValueError(f"{name} is given twice")
        if not separator:
            raise ValueError(f"{name} has no value; it takes a number, as in {name}=10")
        changes[name] = _number(name, given)
    return changes


def _number(name: str, given: str) -> float:
    try:
        number: float = msgspec.convert(float(given), FORMS[name])
    except ValueError:
        raise ValueError(f"{name} is {given!r}; it takes a number {_range(name)}") from None
    return number


def _range(name: str) -> str:
    form = type_info(FORMS[name])
    assert isinstance(form, FloatType)
    least = f"above {form.gt:g}" if form.gt is not None else f"from {form.ge:g}"
    return f"{least} to {form.le:,.0f}"


def setting(
    policy: Policy, detector: str, changes: dict[str, float], *, shown: Sequence[str] = ("failed_after",)
) -> Setting:
    """A policy that differs from another one in these settings. A fence that was not asked for moves out of the way.

    Raises:
        ValueError: the settings contradict each other, or one is out of its limits.
    """
    suspect_after, failed_after = (
        changes.get(name, getattr(policy, name)) for name in ("suspect_after", "failed_after")
    )
    if suspect_after >= failed_after:
        raise ValueError(
            f"failed_after {failed_after:g} s has to be longer than suspect_after {suspect_after:g} s; what is not "
            f"named is as it was recorded"
        )
    fields: dict[str, Any] = msgspec.to_builtins(policy) | {"overrides": (), "detector": detector} | changes
    if "self_fence_after" not in changes:
        fields["self_fence_after"] = _fence(suspect_after, policy.self_fence_after, failed_after)
    words = [f"{name}={changes[name]:g}" for name in shown]
    return Setting(" ".join([detector, *words]), msgspec.convert(fields, Policy))


def _fence(suspect_after: float, self_fence_after: float, failed_after: float) -> float:
    if suspect_after < self_fence_after < failed_after:
        return self_fence_after
    share = FENCE_SHARE * failed_after
    return share if share > suspect_after else (suspect_after + failed_after) / 2


def _near(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given.lower(), list(known), 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
