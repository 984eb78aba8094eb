"""The pictures of a report, as SVG in a page: no library, nothing to load, and they grow and shrink with the page.

Along the time everything is in per cent of the width, so that letters keep their size on any screen; upwards it is in
pixels. Names stand beside the picture, in HTML. Colours come from the page's style sheet, light or dark.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from html import escape
from math import log10

from projections.report.content import Lane, Outage, Reason, Report
from projections.report.lanes import OUT, WELL
from projections.report.words import ENDINGS, counted, ending, moment, seconds

ROW, BAR = 26, 12
OUT_BAR = 20
"""What is short and bad has to be seen beside what is long and good."""
DOT = 3
AXIS = 24
TICKS_MAX = 6
STEPS_S = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800),
    *(1_209_600, 2_592_000, 7_776_000, 31_536_000),
)
TIMES_HEIGHT = 220
TIMES_TOP = 14
CROWD = 200
DECADE_S = (0.1, 1.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 10_000.0, 100_000.0)
BAR_SHARE_MAX = 86.0
"""Of the width: the number behind the longest bar needs room, too."""
NAMES = {name: name.replace(" ", "-") for name in ("given up",)}


class Axis:
    """From the beginning to the end of what is drawn, with some room on both sides."""

    def __init__(self, since: datetime, until: datetime) -> None:
        room = max((until - since) * 0.02, timedelta(seconds=0.5))
        self.since, self.until = since - room, until + room

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()

    def x(self, at: datetime) -> float:
        return min(100.0, max(0.0, (at - self.since).total_seconds() / self.seconds * 100))

    def ticks(self) -> Iterator[tuple[float, str]]:
        step = next((step for step in STEPS_S if self.seconds / step <= TICKS_MAX), STEPS_S[-1])
        form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86_400 else "%b %d"
        first = -(-self.since.timestamp() // step) * step
        number = 0
        while (at := datetime.fromtimestamp(first + number * step, self.since.tzinfo)) <= self.until:
            midnight = step < 86_400 < self.seconds and at.hour == at.minute == 0
            yield self.x(at), at.strftime("%b %d" if midnight else form)
            number += 1


def axis_of(report: Report) -> Axis:
    ends = [moment for lane in report.lanes for span in lane.spans for moment in (span.since, span.until)]
    ends += [outage.failed_at for outage in report.outages]
    return Axis(min(ends), max(ends)) if ends else Axis(report.scope.since, report.scope.until)


def lanes(drawn: Sequence[Lane], axis: Axis) -> str:
    height = ROW * len(drawn) + AXIS
    parts = [*_upright(axis, height)]
    for number, lane in enumerate(drawn):
        middle = number * ROW + ROW / 2
        # What is bad is drawn over what is good, so that seconds of it can be seen in a week.
        for span in sorted(lane.spans, key=lambda one: (one.state in OUT, one.state not in WELL)):
            left, right = axis.x(span.since), axis.x(span.until)
            lasted = seconds((span.until - span.since).total_seconds())
            words = f"{lane.worker_id}: {span.state} from {moment(span.since)}, for {lasted}"
            tall = OUT_BAR if span.state in OUT else BAR
            parts.append(
                f'<rect class="mark s-{NAMES.get(span.state, span.state)}" x="{left:.3f}%" y="{middle - tall / 2}" '
                f'width="{right - left:.3f}%" height="{tall}"><title>{escape(words)}</title></rect>'
            )
        for mark in lane.marks:
            words = f"{lane.worker_id}: {'back' if mark.success else 'in vain'} at {moment(mark.at)}; {mark.text}"
            css = "good" if mark.success else "bad"
            parts.append(
                f'<circle class="mark {css}" cx="{axis.x(mark.at):.3f}%" cy="{middle + BAR / 2}" r="{DOT}">'
                f"<title>{escape(words)}</title></circle>"
            )
    names = [f'<div class="name" title="{escape(lane.worker_id)}">{escape(lane.worker_id)}</div>' for lane in drawn]
    return _beside(names, _svg(height, "Workers over time, with their states", parts))


def recovery_times(outages: Sequence[Outage], axis: Axis, target: float | None) -> str:
    """One dot for each worker that came back: when it failed, and how long it was out. The scale is logarithmic."""
    radius = 5 if len(outages) <= CROWD else 3
    longest = max([one.recovery_s or 0 for one in outages] + [target or 1.0])
    lines = [line for line in DECADE_S if line <= longest * 1.2]
    highest = max(longest * 1.3, 1.0)

    def y(value: float) -> float:
        # 0.03 s and less are the floor: nobody is back sooner than that.
        share = log10(max(value, 0.03) / 0.03) / log10(highest / 0.03)
        return TIMES_TOP + (TIMES_HEIGHT - AXIS - TIMES_TOP) * (1 - share)

    parts = [*_upright(axis, TIMES_HEIGHT)]
    parts += [f'<line class="grid" x1="0" x2="100%" y1="{y(line):.1f}" y2="{y(line):.1f}"/>' for line in lines]
    if target is not None:
        parts.append(f'<line class="target" x1="0" x2="100%" y1="{y(target):.1f}" y2="{y(target):.1f}"/>')
        parts.append(
            f'<text class="tick strong" x="100%" text-anchor="end" y="{y(target) - 4:.1f}">'
            f"target for the mean: {seconds(target)}</text>"
        )
    for one in outages:
        if one.recovery_s is not None:
            words = f"{one.worker_id} failed at {moment(one.failed_at)} ({one.reason}), {ending(one)}"
            parts.append(
                f'<circle class="mark e-{one.ending}" cx="{axis.x(one.failed_at):.3f}%" cy="{y(one.recovery_s):.1f}" '
                f'r="{radius}"><title>{escape(words)} after {seconds(one.recovery_s)}</title></circle>'
            )
    names = [f'<div class="level" style="top: {y(line):.1f}px">{seconds(line)}</div>' for line in lines]
    return _beside(names, _svg(TIMES_HEIGHT, "Recovery times", parts))


def failure_reasons(reasons: Sequence[Reason]) -> str:
    most = max((reason.failures for reason in reasons), default=1)
    parts = []
    for number, reason in enumerate(reasons):
        top, left = number * ROW + (ROW - BAR) / 2, 0.0
        for name, count in reason.endings.items():
            width = count / most * BAR_SHARE_MAX
            words = f"{reason.reason}: {count} of {counted(reason.failures, 'failure')} {ENDINGS.get(name, name)}"
            parts.append(
                f'<rect class="mark e-{name}" x="{left:.3f}%" y="{top}" width="{width:.3f}%" height="{BAR}">'
                f"<title>{escape(words)}</title></rect>"
            )
            left += width
        parts.append(f'<text class="count" x="{left:.3f}%" dx="7" y="{top + BAR - 3}">{reason.failures:,}</text>')
    names = [f'<div class="name">{escape(reason.reason.replace("_", " "))}</div>' for reason in reasons]
    return _beside(names, _svg(ROW * len(reasons), "Failures of workers by reason", parts))


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Of classes and words."""
    items = "".join(
        f'<li><svg width="12" height="12"><rect class="{css}" width="12" height="12"/></svg>{escape(text)}</li>'
        for css, text in entries
    )
    return f'<ul class="legend">{items}</ul>'


def states_of(drawn: Sequence[Lane]) -> list[tuple[str, str]]:
    found = dict.fromkeys(span.state for lane in drawn for span in lane.spans)
    return [(f"s-{NAMES.get(state, state)}", state) for state in found]


def endings_of(names: Iterable[str]) -> list[tuple[str, str]]:
    there = set(names)
    return [(f"e-{name}", words) for name, words in ENDINGS.items() if name in there]


def _upright(axis: Axis, height: float) -> Iterator[str]:
    for number, (x, text) in enumerate(axis.ticks()):
        css = " odd" if number % 2 else ""
        yield f'<line class="grid{css}" x1="{x:.3f}%" x2="{x:.3f}%" y1="0" y2="{height - AXIS}"/>'
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        yield f'<text class="tick{css}" x="{x:.3f}%" y="{height - 7}" text-anchor="{anchor}">{text}</text>'


def _svg(height: float, title: str, parts: Iterable[str]) -> str:
    inner = "\n".join(parts)
    return (
        f'<svg class="plot" width="100%" height="{height:g}" role="img" aria-label="{escape(title)}">\n{inner}\n</svg>'
    )


def _beside(names: Sequence[str], picture: str) -> str:
    return f'<div class="beside"><div class="names">{"".join(names)}</div><div class="picture">{picture}</div></div>'
