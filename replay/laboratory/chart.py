"""Scores on a terminal: a table, and false alarms against detection time as a picture made of letters."""

from collections.abc import Sequence
from math import log10
from string import ascii_letters

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from replay.laboratory.trace import Trace
from replay.laboratory.trial import Score, Spread
from replay.tables import table

STYLES = {"deadline": "cyan", "phi": "magenta"}
PLOT_WIDTH_MAX, PLOT_ROWS = 72, 10
MARGIN = 8
CROWDED = "+"
TICK_GAP = 14


def letter(index: int) -> str:
    return ascii_letters[index % len(ascii_letters)]


def reached(score: Score) -> Spread | None:
    """How soon failures were found: those that happened, or, where none did, those that might have."""
    return score.found or score.would_find


def summary(trace: Trace) -> str:
    proven = sum(life.end.kind == "proven" for life in trace.lives)
    presumed = sum(life.end.kind == "presumed" for life in trace.lives)
    return (
        f"{trace.beats:,} heartbeats of {len({life.worker_id for life in trace.lives}):,} workers in "
        f"{len(trace.lives):,} incarnations, {trace.worker_hours:,.1f} worker-hours; "
        f"{counted(proven + presumed, 'failure')} ({proven:,} proven, {presumed:,} presumed), "
        f"{counted(len(trace.blind), 'time')} from which silence counts anew"
    )


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def conclusion(scores: Sequence[Score]) -> str:
    """What is in force, and which of those that were tried finds failures soonest without a mistake."""
    sentences = [f"As recorded: {_words(score)}." for score in scores if score.in_force]
    flawless = [
        (spread.median, index, score)
        for index, score in enumerate(scores)
        if not score.false_failures and (spread := reached(score)) is not None
    ]
    if not flawless:
        return " ".join([*sentences, "None that was tried spares all that lived."])
    _, index, best = min(flawless, key=lambda one: one[:2])
    if not best.in_force:
        sentences.append(f"The soonest that spares all that lived: {letter(index)}, {best.setting}, {_words(best)}.")
    else:
        sentences.append("None that was tried is sooner and spares all that lived.")
    return " ".join(sentences)


def _words(score: Score) -> str:
    mistakes = counted(score.false_failures, "false failure") if score.false_failures else "no false failure"
    if score.found is not None:
        return f"{mistakes}, found after {score.found.median:.1f} s"
    would = score.would_find
    return mistakes if would is None else f"{mistakes}, a death would be found after {would.median:.1f} s"


def report(trace: Trace, scores: Sequence[Score], *, width: int) -> Group:
    parts: list[RenderableType] = [Text(summary(trace)), Text(), scores_table(trace, scores)]
    parts += [Text(), Text(conclusion(scores), "bold")]
    if any(reached(score) for score in scores):
        parts += [Text(), *plot(scores, width=width)]
    return Group(*parts)


def scores_table(trace: Trace, scores: Sequence[Score]) -> Table:
    real = bool(trace.failures)
    made = table("", "DETECTOR", "FALSE\nFAILURES", "SUSPICIONS", "FOUND\nAFTER", "99 %", "WORST")
    for column in made.columns[2:]:
        column.justify = "right"
        column.no_wrap = True
    for index, score in enumerate(scores):
        spread = score.found if real else score.would_find
        times = ("-", "-", "-") if spread is None else (spread.median, spread.p99, spread.worst)
        made.add_row(
            Text(letter(index), STYLES.get(score.detector, "")),
            Text(score.setting, "bold" if score.in_force else ""),
            Text(f"{score.false_failures:,}", "red" if score.false_failures else "green"),
            f"{score.false_suspicions:,}",
            *(one if isinstance(one, str) else f"{one:.1f} s" for one in times),
        )
    made.caption = (
        "from each failure to its detection by silence; median, 99 % and worst"
        if real
        else "no failure was recorded: how long a death at any moment would have gone unnoticed"
    )
    made.caption_justify = "left"
    made.caption_style = "dim"
    return made


def plot(scores: Sequence[Score], *, width: int) -> list[Text]:
    """Up: more false failures (as powers of ten). To the right: later detection (the median)."""
    points = [
        (index, score, spread.median) for index, score in enumerate(scores) if (spread := reached(score)) is not None
    ]
    columns = max(TICK_GAP, min(PLOT_WIDTH_MAX, width - MARGIN - 1))
    longest = max(time for _, _, time in points) or 1.0
    most = max(1, *(score.false_failures for _, score, _ in points))
    grid: list[list[tuple[str, str]]] = [[(" ", "")] * columns for _ in range(PLOT_ROWS)]
    for index, score, time in points:
        row = round(log10(1 + score.false_failures) / log10(1 + most) * (PLOT_ROWS - 1))
        column = _free(grid[row], round(time / longest * (columns - 1)))
        taken = grid[row][column][0] != " "
        style = STYLES.get(score.detector, "") + (" reverse" if score.in_force else "")
        grid[row][column] = (CROWDED if taken else letter(index), style.strip())
    lines = [Text("false failures (logarithmic)", "dim")]
    for row in range(PLOT_ROWS - 1, -1, -1):
        count = round(10 ** (row / (PLOT_ROWS - 1) * log10(1 + most)) - 1)
        label = f"{count:,}" if row % 3 == 0 else ""
        line = Text(f"{label:>{MARGIN - 2}} |", "dim")
        for sign, style in grid[row]:
            line.append(sign, style or None)
        line.rstrip()
        lines.append(line)
    axis, ticks = "-" * columns, ""
    for place in range(0, columns, TICK_GAP):
        tick = f"{place / (columns - 1) * longest:.1f} s"
        if place + len(tick) <= columns:
            ticks = ticks.ljust(place) + tick
    indent = " " * (MARGIN - 1)
    return [*lines, Text(f"{indent}+{axis}", "dim"), Text(f"{indent} {ticks}", "dim"), _legend(points, indent)]


def _legend(points: Sequence[tuple[int, Score, float]], indent: str) -> Text:
    made = Text(f"{indent} found after; ", "dim")
    for detector in dict.fromkeys(score.detector for _, score, _ in points):
        made.append(detector, STYLES.get(detector))
        made.append(", ")
    made.append("as recorded", "reverse")
    return made


def _free(row: Sequence[tuple[str, str]], wanted: int) -> int:
    """The nearest place to the right that is free, if there is one close by."""
    for column in range(wanted, min(wanted + 3, len(row))):
        if row[column][0] == " ":
            return column
    return wanted
