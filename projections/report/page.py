"""A report as one page of HTML: pictures and style in it, nothing from anywhere else, and no program."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from projections.figures import Figure, basis, verdict
from projections.patterns.words import chance_of, conclusion
from projections.report import drawing
from projections.report.content import Case, Report
from projections.report.markdown import headline
from projections.report.words import counted, facts, later, moment, standing, target, value

STYLE = Path(__file__).with_name("style.css")
DOTS_MAX = 1_000
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The browser is told as well that there is nothing to load and nothing to run."""


def page(report: Report) -> str:
    title = escape(report.scope.title)
    sections = (
        *(_head(report), _figures(report), _incident(report), _lanes(report), _times(report), _reasons(report)),
        *(_cases(report.cases), _patterns(report), _timeline(report), _foot(report)),
    )
    body = "\n".join(line for section in sections for line in section)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _head(report: Report) -> Iterator[str]:
    scope = report.scope
    yield f"<header><h1>{escape(scope.title)}</h1>"
    yield f'<p class="dim">{moment(scope.since)} to {moment(scope.until)} UTC</p>'
    *said, last = headline(report)
    css = {True: "good-word", False: "bad-word", None: "dim"}[verdict(report.figures)]
    yield f'<p>{escape("; ".join(said))}. <strong class="{css}">{escape(last.capitalize())}.</strong></p>'
    yield "</header>"


def _figures(report: Report) -> Iterator[str]:
    yield '<section id="figures"><div class="cards">'
    yield from (_card(figure) for figure in report.figures if figure.target is not None)
    yield "</div>"
    others = [figure for figure in report.figures if figure.target is None]
    told = "; ".join(f"{figure.title} {value(figure)} ({basis(figure)})" for figure in others)
    if told:
        yield f'<p class="dim"><small>Without a target: {escape(told)}.</small></p>'
    if report.scope.run_id is not None:
        yield '<p class="dim"><small>The figures are those of the whole farm in that time.</small></p>'
    yield "</section>"


def _card(figure: Figure) -> str:
    word = standing(figure)
    css = {"met": " met", "missed": " missed"}.get(word, "")
    more = [basis(figure)]
    more += [f"{figure.open} open"] if figure.open else []
    more += [f"{figure.excluded} left out"] if figure.excluded else []
    return (
        f'<div class="card{css}"><div class="title">{escape(figure.title)}</div>'
        f'<div class="value">{escape(value(figure))}</div>'
        f'<div class="basis">target {escape(target(figure))}: {word}<br>{escape(", ".join(more))}</div></div>'
    )


def _incident(report: Report) -> Iterator[str]:
    if report.incident is None:
        return
    yield '<section id="incident"><h2>The incident</h2><table class="stack"><tbody>'
    for name, text in facts(report.incident):
        yield f'<tr><th>{escape(name)}</th><td class="long">{escape(text)}</td></tr>'
    yield "</tbody></table></section>"


def _lanes(report: Report) -> Iterator[str]:
    if not report.lanes:
        return
    yield '<section id="lanes"><h2>Workers over time</h2><figure><figcaption>'
    yield "What each worker was, as the log has it. Dots are the ends of attempts to bring it back, green where it was."
    if report.lanes_left_out:
        yield f" {counted(report.lanes_left_out, 'worker')} with less to show left out."
    if any(lane.coarse for lane in report.lanes):
        yield " Lanes with very many changes are simplified: what prevailed, the longest times out, attempts in vain."
    yield "</figcaption>"
    yield drawing.lanes(report.lanes, drawing.axis_of(report))
    yield drawing.legend(drawing.states_of(report.lanes))
    yield "</figure></section>"


def _times(report: Report) -> Iterator[str]:
    back = [outage for outage in report.outages if outage.recovery_s is not None]
    if not back:
        return
    shown = sorted(back, key=lambda one: one.recovery_s or 0.0)[-DOTS_MAX:]
    goal = next((figure.target for figure in report.figures if figure.metric == "recovery_time"), None)
    yield '<section id="times"><h2>Recovery times</h2><figure><figcaption>'
    yield "From when a worker was gone, as the evidence shows, until it was well again. The scale is logarithmic."
    if len(shown) < len(back):
        yield f" The {len(shown):,} longest of {len(back):,}."
    yield "</figcaption>"
    yield drawing.recovery_times(shown, drawing.axis_of(report), goal)
    yield drawing.legend(drawing.endings_of(outage.ending or "open" for outage in back))
    yield "</figure></section>"


def _reasons(report: Report) -> Iterator[str]:
    if not report.reasons:
        return
    yield '<section id="reasons"><h2>Why workers failed</h2><figure><figcaption>'
    yield "Failures by reason, and what became of them.</figcaption>"
    yield drawing.failure_reasons(report.reasons)
    yield drawing.legend(drawing.endings_of(name for reason in report.reasons for name in reason.endings))
    yield "</figure></section>"


def _cases(cases: Sequence[Case]) -> Iterator[str]:
    if not cases:
        return
    yield '<section id="cases"><h2>Worst cases</h2>'
    for number, case in enumerate(cases):
        first = case.chain[0].at if case.chain else None
        yield f"<details{' open' if number == 0 else ''}><summary>{escape(case.title)}</summary>"
        if case.note:
            yield f'<p class="dim"><small>{escape(case.note)}</small></p>'
        yield '<table class="chain stack"><tbody>'
        for link in case.chain:
            assert first is not None
            since = (link.at - first).total_seconds()
            cause = f' <span class="dim">because of #{link.cause}</span>' if link.cause is not None else ""
            yield (
                f'<tr><td class="when">+{later(since)}</td><td class="event">#{link.sequence}</td>'
                f'<td class="kind"><code>{escape(link.kind)}</code> {escape(link.entity or "")}</td>'
                f'<td class="long">{escape(link.text)}{cause}</td></tr>'
            )
        yield "</tbody></table>"
        if case.left_out:
            yield f'<p class="dim"><small>{case.left_out} more of the same are left out.</small></p>'
        yield "</details>"
    yield "</section>"


def _patterns(report: Report) -> Iterator[str]:
    found = report.patterns
    yield f'<section id="patterns"><h2>Patterns</h2><p>{escape(conclusion(found).capitalize())}.</p>'
    if found.findings:
        yield '<ol class="patterns">'
        for finding in found.findings:
            yield f'<li>{escape(finding.sentence)}. <span class="dim">{escape(chance_of(finding))}.</span>'
            yield f"<details><summary>the rows</summary><pre>{escape(finding.sql)}</pre></details></li>"
        yield "</ol>"
    yield "</section>"


def _timeline(report: Report) -> Iterator[str]:
    if not report.timeline:
        return
    yield '<section id="timeline"><h2>Timeline</h2>'
    if report.timeline_left_out:
        yield f'<p class="dim">{report.timeline_left_out:,} older entries are left out.</p>'
    yield '<table class="stack"><thead><tr><th>time (UTC)</th><th>event</th><th>what</th><th></th></tr></thead><tbody>'
    for entry in report.timeline:
        drill = f' <span class="dim">drill: {escape(entry.synthetic)}</span>' if entry.synthetic else ""
        yield (
            f'<tr><td class="when">{moment(entry.at)}</td><td class="event">#{entry.sequence}</td>'
            f'<td class="kind"><code>{escape(entry.kind)}</code>{drill}</td>'
            f'<td class="long">{escape(entry.text)}</td></tr>'
        )
    yield "</tbody></table></section>"


def _foot(report: Report) -> Iterator[str]:
    yield (
        f"<footer>Made by Resurgam at {moment(report.made_at)} UTC from the history as far as event "
        f"{report.through_sequence}. Failures that were made up, and what operators held up, do not count in the "
        f"figures; docs/metrics.md defines them, docs/patterns.md says how sure patterns are.</footer>"
    )
