"""The metrics of a history as programs read them: over a window, whole or by group."""

import msgspec

from projections.asking import History
from projections.errors import QueryError
from projections.metrics import GROUPS, Kind
from projections.query import NO_HISTORY
from projections.window import Window, timestamp

_MACROS = {"reason": ("metrics_by_reason", "reason"), "worker": ("metrics_by_worker", "worker_id")}
assert set(_MACROS) == set(GROUPS)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `metrics()`; docs/schema.md says what each field means."""

    group: str | None = None
    """The reason or the worker; None: it is of everything."""
    metric: str
    title: str
    kind: Kind
    value: float | None
    unit: str
    target: float | None
    above: bool
    """Whether the target is to be exceeded."""
    met: bool | None
    numerator: float | None
    denominator: int | None
    """None: it does not rest on observations that could be counted."""
    open: int = 0
    excluded: int = 0
    median: float | None = None
    p95: float | None = None
    maximum: float | None = None


def figures(
    history: History,
    window: Window,
    *,
    by: str | None = None,
    until_too: bool = True,
    synthetic_too: bool = False,
    operator_too: bool = False,
) -> list[Figure]:
    """`by` is one of `GROUPS`. Without `until_too` the window has no end.

    Raises:
        QueryError: the history cannot be asked, or is of an older program.
    """
    macro, group = ("metrics", "NULL") if by is None else _MACROS[by]
    arguments = [f"since := {timestamp(window.since)}"]
    if until_too:
        arguments.append(f"until := {timestamp(window.until)}")
    arguments += [f"synthetic_too := {synthetic_too}", f"operator_too := {operator_too}"]
    order = "number" if by is None else f"{group}, number"
    try:
        rows = history.records(
            f'SELECT {group} AS "group", found.* EXCLUDE (metric), metric, kind, above '  # noqa: S608
            f"FROM {macro}({', '.join(arguments)}) AS found JOIN metric_definitions USING (metric) ORDER BY {order}"
        )
    except QueryError as error:
        if f"{macro} does not exist" in str(error) and NO_HISTORY not in str(error):
            raise QueryError(
                "this history was made by an older program, which knew no metrics: start the system, or a projector, "
                "and it is made anew"
            ) from error
        raise
    return [msgspec.convert(row, Figure, strict=False) for row in rows]


def lag(events: int, seconds: float) -> Figure:
    """What only somebody can tell who knows the log as well: how far an answer was behind it."""
    return Figure(
        metric="projection_lag",
        title="projection lag",
        kind="level",
        value=seconds,
        unit="s",
        target=None,
        above=False,
        met=None,
        numerator=float(events),
        denominator=None,
    )


def verdict(found: list[Figure]) -> bool | None:
    """Whether all targets are met that can be told; None: not one can be."""
    told = [figure.met for figure in found if figure.met is not None]
    return all(told) if told else None


def amount(value: float, unit: str) -> str:
    """As people read it: `98.1 %`, `0.104 s`, `12`."""
    if unit == "share":
        return f"{value * 100:.4g} %"
    return f"{value:.3g} s" if unit == "s" and value < 1000 else f"{value:,.0f} {unit}".removesuffix(" tasks")


def basis(figure: Figure) -> str:
    """What it rests on: `29 of 30`, `n = 7`."""
    if figure.denominator is None:
        return f"{figure.numerator or 0:,.0f} events behind"
    if figure.kind == "mean" or figure.unit == "s":
        return f"n = {figure.denominator:,}"
    return f"{figure.numerator or 0:,.0f} of {figure.denominator:,}"
