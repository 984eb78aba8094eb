"""Scores as a picture: an SVG, or a page of HTML with the same picture and the figures behind it. Needs nothing else.

Above, false failures against detection time, a point for each setting and a line for each detector: the further down
and to the left, the better. Below, what they had to judge: how often a worker that lived was silent for how long.
"""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from math import inf, log10
from pathlib import Path
from typing import NamedTuple

from replay.access import CannotReplay
from replay.laboratory.chart import conclusion, letter, reached, summary
from replay.laboratory.trace import Trace
from replay.laboratory.trial import Score, Spread

COLOURS = {"deadline": "#0072b2", "phi": "#d55e00"}
"""Those of M. Okabe and K. Ito, which everybody can tell apart."""
OTHER_COLOUR = "#555555"

WIDTH, HEIGHT = 1180, 810
LEFT, RIGHT = 90, 800
KEY_LEFT, KEY_LINE = 830, 19
KEY_FAILURES, KEY_FOUND = 1075, 1160
"""Where the columns of figures end."""
SCORES_TOP, SCORES_BOTTOM = 90, 400
GAPS_TOP, GAPS_BOTTOM = 550, 750
TICKS = 8
CLOSE = 14
"""Points that are no further apart share a label, and so do those that would be written over."""
LETTER = 9
"""The width of one in a label, with the blank before it; marks that are closer have their letters in one column."""
LETTER_LINE = 12
LABEL_ROOM = 30
CURVE_POINTS = 200

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #222 }
  .title { font-size: 17px; font-weight: 600 } .small { font-size: 12px; fill: #555 } .end { text-anchor: end }
  .letter { font-size: 12px; paint-order: stroke; stroke: white; stroke-width: 3px } .middle { text-anchor: middle }
  .grid { stroke: #e4e4e4 } .axis { stroke: #777; fill: none } .line { fill: none; stroke-width: 1.5; opacity: .5 }
"""


def check_name(path: Path) -> None:
    """Raises:
    CannotReplay: it ends neither in .svg nor in .html, or there is no such folder.
    """
    if path.suffix not in (".svg", ".html"):
        raise CannotReplay(f"--picture {path}: it takes a name that ends in .svg or .html")
    if not path.parent.is_dir():
        raise CannotReplay(f"--picture {path}: there is no folder {path.parent}")


def write_picture(path: Path, trace: Trace, scores: Sequence[Score]) -> None:
    """Raises:
    CannotReplay: the file cannot be written.
    """
    drawn = svg(trace, scores)
    if path.suffix == ".html":
        drawn = page(trace, scores, drawn)
    try:
        path.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise CannotReplay(f"--picture {path}: it cannot be written: {error.strerror}") from error


def svg(trace: Trace, scores: Sequence[Score]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">',
            f"<title>Failure detectors: false failures against detection time</title><style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            *_scores(scores),
            *_key(scores),
            *_gaps(trace, scores),
            "</svg>",
        ]
    )


def page(trace: Trace, scores: Sequence[Score], drawn: str) -> str:
    rows = "\n".join(_row(index, score) for index, score in enumerate(scores))
    headings = "".join(
        f"<th>{heading}</th>"
        for heading in (
            *("", "detector", "false failures", "per 1,000 worker-hours", "mistaken for", "false suspicions"),
            *("found after (median)", "99 %", "worst", "a death at any moment: median", "worst"),
        )
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Failure detectors</title>
<style>
  :root {{ color-scheme: light }}
  body {{ font: 14px system-ui, sans-serif; margin: 2em auto; max-width: 1180px; color: #222; background: white }}
  table {{ border-collapse: collapse; margin-top: 1em }} td, th {{ padding: .25em .7em; text-align: right }}
  td {{ white-space: nowrap }} th {{ border-bottom: 1px solid #999; font-weight: 600; vertical-align: bottom }}
  td:nth-child(2), th:nth-child(2) {{ text-align: left }} tr.force td {{ font-weight: 600 }}
  svg {{ max-width: 100%; height: auto }}
</style>
<h1>Failure detectors over a recording</h1>
<p>{escape(summary(trace))}.</p>
<p><strong>{escape(conclusion(scores))}</strong></p>
{drawn}
<table><thead><tr>{headings}</tr></thead><tbody>
{rows}
</tbody></table>
</html>
"""


def _row(index: int, score: Score) -> str:
    found, would = score.found, score.would_find
    cells = (
        letter(index),
        score.setting,
        f"{score.false_failures:,}",
        f"{score.false_failures_per_1000_hours:,.1f}",
        f"{score.mistaken_s:,.1f} s",
        f"{score.false_suspicions:,}",
        *(("-", "-", "-") if found is None else (f"{one:.1f} s" for one in (found.median, found.p99, found.worst))),
        *(("-", "-") if would is None else (f"{one:.1f} s" for one in (would.median, would.worst))),
    )
    css = ' class="force"' if score.in_force else ""
    return f"<tr{css}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _colour(score: Score) -> str:
    return COLOURS.get(score.detector, OTHER_COLOUR)


class _Axis:
    """Linear, from 0."""

    def __init__(self, longest: float) -> None:
        self.step = _step(longest / TICKS)
        self.end = self.step * max(1, -(-longest // self.step))

    def x(self, value: float) -> float:
        return LEFT + (RIGHT - LEFT) * min(value / self.end, 1.0)

    def ticks(self) -> list[float]:
        return [self.step * number for number in range(round(self.end / self.step) + 1)]


def _step(least: float) -> float:
    """The next of 1, 2, 5, 10, 20, ..."""
    power = 10.0 ** int(log10(least) // 1) if least > 0 else 1.0
    return next(power * many for many in (1, 2, 5, 10) if power * many >= least * (1 - 1e-9))


def _scores(scores: Sequence[Score]) -> Iterator[str]:
    points = [(index, score, spread) for index, score in enumerate(scores) if (spread := reached(score)) is not None]
    axis = _Axis(max((spread.worst for _, _, spread in points), default=1.0))
    most = max((score.false_failures for score in scores), default=0)
    decades = len(str(most))

    def y(count: int) -> float:
        # 0 has a place of its own below 1, which a logarithm does not give it.
        share = 0.0 if count == 0 else (1 + log10(count)) / (decades + 1)
        return SCORES_BOTTOM - (SCORES_BOTTOM - SCORES_TOP) * share

    yield from _headings(
        SCORES_TOP,
        "False failures against detection time",
        "Further down and to the left is better. Dots are medians, lines go to the worst; the ring is as recorded.",
    )
    for count in (0, *(10**power for power in range(decades + 1))):
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y(count):.1f}" y2="{y(count):.1f}"/>'
        yield f'<text x="{LEFT - 10}" y="{y(count) + 4:.1f}" text-anchor="end">{count:,}</text>'
    yield from _x_axis(axis, SCORES_TOP, SCORES_BOTTOM)
    when = "a failure" if _real(scores) else "a death at any moment"
    yield from _axis_titles(SCORES_TOP, SCORES_BOTTOM, f"from {when} to its detection", "false failures")
    for detector in dict.fromkeys(score.detector for _, score, _ in points):
        of_it = sorted(
            (spread.median, score.false_failures)
            for _, score, spread in points
            if score.detector == detector and not score.in_force
        )
        path = " ".join(f"{axis.x(time):.1f},{y(failures):.1f}" for time, failures in of_it)
        yield f'<polyline class="line" stroke="{COLOURS.get(detector, OTHER_COLOUR)}" points="{path}"/>'
    labels: list[_Label] = []
    for index, score, spread in sorted(points, key=lambda point: (point[2].median, point[1].in_force)):
        x, height = axis.x(spread.median), y(score.false_failures)
        yield _point(score, spread, (x, axis.x(spread.worst)), height)
        _label(labels, _Label(score.detector, x, height, letter(index)))
    sides = {detector: number % 2 for number, detector in enumerate(dict.fromkeys(label.detector for label in labels))}
    for label in labels:
        # Where the lines of two detectors lie close together, one has its letters above and the other below, or, if
        # there is no room for them, higher.
        left, base = label.x + 9, label.y - 9
        if sides[label.detector]:
            below = label.y < SCORES_BOTTOM - LABEL_ROOM
            left, base = (label.x - 12, label.y + 21) if below else (left, base - LETTER_LINE - 2)
        colour = COLOURS.get(label.detector, OTHER_COLOUR)
        yield f'<text class="letter" style="fill: {colour}" x="{left:.1f}" y="{base:.1f}">{label.text}</text>'


class _Label(NamedTuple):
    detector: str
    x: float
    y: float
    text: str


def _label(labels: list[_Label], new: _Label) -> None:
    """Adds it, or adds its letter to one of the same detector close by, to its left."""
    for place, old in enumerate(labels):
        room = CLOSE + LETTER * (len(old.text) // 2)
        if old.detector == new.detector and new.x - old.x <= room and abs(old.y - new.y) <= CLOSE:
            labels[place] = old._replace(text=f"{old.text} {new.text}")
            return
    labels.append(new)


def _headings(top: float, title: str, *lines: str) -> Iterator[str]:
    """Above a diagram that begins at `top`."""
    first = top - 32 - 18 * len(lines)
    yield f'<text class="title" x="{LEFT}" y="{first}">{escape(title)}</text>'
    for number, line in enumerate(lines, 1):
        yield f'<text class="small" x="{LEFT}" y="{first + 18 * number}">{escape(line)}</text>'


def _point(score: Score, spread: Spread, x: tuple[float, float], y: float) -> str:
    """A dot at the median, a line to the worst, and the figures for whoever points at it."""
    median, worst = x
    colour = _colour(score)
    words = (
        f"{score.setting}: {score.false_failures:,} false failures, median {spread.median:.1f} s, worst "
        f"{spread.worst:.1f} s"
    )
    ring = f'<circle cx="{median:.1f}" cy="{y:.1f}" r="10" fill="none" stroke="#222" stroke-width="1.5"/>'
    return (
        f"<g><title>{escape(words)}</title>"
        f'<line x1="{median:.1f}" x2="{worst:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>'
        f"{ring if score.in_force else ''}"
        f'<circle cx="{median:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/></g>'
    )


def _x_axis(axis: _Axis, top: float, bottom: float) -> Iterator[str]:
    for value in axis.ticks():
        x = axis.x(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:g} s</text>'
    yield f'<polyline class="axis" points="{LEFT},{top} {LEFT},{bottom} {RIGHT},{bottom}"/>'


def _axis_titles(top: float, bottom: float, along: str, upwards: str) -> Iterator[str]:
    middle, height = (LEFT + RIGHT) / 2, (top + bottom) / 2
    yield f'<text class="small middle" x="{middle}" y="{bottom + 38}">{escape(along)}</text>'
    turned = f'transform="rotate(-90 {LEFT - 62} {height})"'
    yield f'<text class="small middle" x="{LEFT - 62}" y="{height}" {turned}>{escape(upwards)}</text>'


def _real(scores: Sequence[Score]) -> bool:
    """There were failures to be found."""
    return any(score.found for score in scores)


def _key(scores: Sequence[Score]) -> Iterator[str]:
    y = SCORES_TOP - 12
    yield f'<text class="small end" x="{KEY_FAILURES}" y="{y}">false failures</text>'
    yield f'<text class="small end" x="{KEY_FOUND}" y="{y}">found after</text>'
    for index, score in enumerate(scores):
        y = SCORES_TOP + KEY_LINE * index + 8
        spread = reached(score)
        found = "" if spread is None else f"{spread.median:.1f} s"
        weight = ' font-weight="600"' if score.in_force else ""
        yield f'<g{weight}><circle cx="{KEY_LEFT}" cy="{y - 4}" r="4" fill="{_colour(score)}"/>'
        yield f'<text class="small" x="{KEY_LEFT + 12}" y="{y}">{letter(index)}</text>'
        yield f'<text class="small" x="{KEY_LEFT + 28}" y="{y}">{escape(score.setting)}</text>'
        yield f'<text class="small end" x="{KEY_FAILURES}" y="{y}">{score.false_failures:,}</text>'
        yield f'<text class="small end" x="{KEY_FOUND}" y="{y}">{found}</text></g>'


def _gaps(trace: Trace, scores: Sequence[Score]) -> Iterator[str]:
    """How many of the silences that ended were longer than so many seconds, and when the detectors would have acted."""
    silences = sorted(later - earlier for life in trace.lives for earlier, later in pairwise(life.times))
    yield from _headings(
        GAPS_TOP,
        "Silences of workers that lived",
        f"How many of {len(silences):,} pauses between heartbeats were as long as that, or longer.",
        "The upright lines show after which silence each detector calls a worker failed (median).",
    )
    if not silences:
        return
    thresholds = [score.would_find.median for score in scores if score.would_find is not None]
    axis = _Axis(max(silences[-1], *thresholds, 1.0))
    decades = len(str(len(silences)))

    def y(count: float) -> float:
        return GAPS_BOTTOM - (GAPS_BOTTOM - GAPS_TOP) * (log10(max(count, 1.0)) / decades)

    for power in range(decades + 1):
        count = 10**power
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y(count):.1f}" y2="{y(count):.1f}"/>'
        yield f'<text x="{LEFT - 10}" y="{y(count) + 4:.1f}" text-anchor="end">{count:,}</text>'
    yield from _x_axis(axis, GAPS_TOP, GAPS_BOTTOM)
    yield from _axis_titles(GAPS_TOP, GAPS_BOTTOM, "silence between two heartbeats", "pauses")
    path = " ".join(f"{axis.x(silence):.1f},{y(count):.1f}" for silence, count in _exceeded(silences))
    yield f'<polyline fill="none" stroke="#222" stroke-width="1.5" points="{path}"/>'
    marks = sorted(
        (axis.x(score.would_find.median), index) for index, score in enumerate(scores) if score.would_find is not None
    )
    for x, index in marks:
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{GAPS_TOP}" y2="{GAPS_BOTTOM}" stroke="{_colour(scores[index])}" '
        yield f'opacity=".6"><title>{letter(index)}: {escape(scores[index].setting)}</title></line>'
    column, base = -inf, 0
    for x, index in marks:
        if x - column < LETTER:
            base += LETTER_LINE
        else:
            column, base = x, GAPS_TOP + LETTER_LINE
        colour = _colour(scores[index])
        yield f'<text class="letter" style="fill: {colour}" x="{column + 4:.1f}" y="{base}">{letter(index)}</text>'


def _exceeded(ordered: Sequence[float]) -> Iterator[tuple[float, int]]:
    """Points of the curve: a silence, and how many are as long at least. All of the long ones, some of the others."""
    total = len(ordered)
    places = {round(total * (1 - 10 ** (-6 * number / CURVE_POINTS))) for number in range(CURVE_POINTS)}
    for place in sorted({*places, *range(max(0, total - CURVE_POINTS), total)}):
        if place < total:
            yield ordered[place], total - place
