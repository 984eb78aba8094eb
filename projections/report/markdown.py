"""A report as Markdown: for a terminal, a ticket, a chat."""

import re
from collections.abc import Iterable, Iterator, Sequence

from projections.figures import basis, verdict
from projections.patterns.words import chance_of, conclusion
from projections.report.content import Case, Report
from projections.report.words import counted, ending, facts, moment, seconds, standing, target, value

OUTAGES_MAX = 20
REASONS_MAX = 20

# An underscore within a word is none, and most names have one.
_MARKUP = re.compile(r"[\\`*\[\]~]|<(?=[a-zA-Z/!?])|(?<![a-zA-Z0-9])_|_(?![a-zA-Z0-9])|^[#+-](?= )")


def markdown(report: Report) -> str:
    scope = report.scope
    parts = [
        f"# {_plain(scope.title)}",
        f"{moment(scope.since)} to {moment(scope.until)} UTC, as far as event {report.through_sequence}.",
        _headline(report),
    ]
    for title, body in (
        ("The incident", _incident(report)),
        ("Figures", _figures(report)),
        ("Failures of workers", _reasons(report)),
        ("Outages", _outages(report)),
        ("Worst cases", _cases(report.cases)),
        ("Patterns", _patterns(report)),
        ("Timeline", _timeline(report)),
    ):
        lines = list(body)
        if lines:
            parts += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def headline(report: Report) -> list[str]:
    """The summary, a sentence each."""
    summary = report.summary
    drills = f" (and {counted(summary.drills, 'drill')})" if summary.drills else ""
    said = [
        f"{counted(summary.failures, 'failure')} of {counted(summary.workers, 'worker')}{drills}",
        f"{counted(summary.requeued, 'task')} put back",
        f"{counted(summary.incidents, 'incident')} of the system as a whole",
    ]
    if summary.tasks:
        verdicts = ", ".join(f"{number:,} {verdict}" for verdict, number in summary.tasks.items())
        said.append(f"{counted(sum(summary.tasks.values()), 'task')} completed: {verdicts}")
    out = len({outage.worker_id for outage in report.outages if outage.ending is None})
    if out:
        said.append(f"{counted(out, 'worker')} still out")
    missed = [figure.title for figure in report.figures if figure.met is False]
    nothing = "nothing to hold against a target" if verdict(report.figures) is None else "no target missed"
    said.append(f"missed: {', '.join(missed)}" if missed else nothing)
    return said


def _headline(report: Report) -> str:
    return "\n".join(f"- {sentence}" for sentence in headline(report))


def _incident(report: Report) -> Iterator[str]:
    if report.incident is not None:
        yield from (f"- {name}: {_plain(text)}" for name, text in facts(report.incident))


def _figures(report: Report) -> Iterator[str]:
    yield from _table(
        ("figure", "value", "target", "", "basis", "open", "excluded"),
        (
            (
                figure.title,
                value(figure),
                target(figure),
                standing(figure),
                basis(figure),
                str(figure.open),
                str(figure.excluded),
            )
            for figure in report.figures
        ),
    )


def _reasons(report: Report) -> Iterator[str]:
    if not report.reasons:
        return
    endings = list(dict.fromkeys(name for reason in report.reasons for name in reason.endings))
    yield from _table(
        ("reason", "failures", *(name.replace("_", " ") for name in endings)),
        (
            (one.reason, str(one.failures), *(str(one.endings.get(name, 0)) for name in endings))
            for one in report.reasons[:REASONS_MAX]
        ),
    )


def _outages(report: Report) -> Iterator[str]:
    if not report.outages:
        return
    newest = report.outages[-OUTAGES_MAX:]
    if len(newest) < len(report.outages):
        yield f"The newest {len(newest)} of {len(report.outages)}.\n"
    yield from _table(
        ("worker", "down since", "reason", "ended", "after", "attempts"),
        (
            (
                one.worker_id,
                moment(one.down_at),
                one.reason,
                ending(one),
                "" if one.recovery_s is None else seconds(one.recovery_s),
                str(one.attempts),
            )
            for one in newest
        ),
    )


def _cases(cases: Sequence[Case]) -> Iterator[str]:
    for number, case in enumerate(cases, start=1):
        yield f"{number}. **{_plain(case.title)}**" + (f" ({_plain(case.note)})" if case.note else "")
        for link in case.chain:
            cause = f" <- {link.cause}" if link.cause is not None else ""
            entity = f" {link.entity}" if link.entity else ""
            what = f"`{link.kind}`{entity} {_plain(link.text)}{cause}"
            yield f"   - {link.at:%H:%M:%S.%f} #{link.sequence} {what}".rstrip()
        if case.left_out:
            yield f"   - {case.left_out} more of the same"


def _patterns(report: Report) -> Iterator[str]:
    yield f"{conclusion(report.patterns)}.".capitalize()
    for number, finding in enumerate(report.patterns.findings, start=1):
        yield f"\n{number}. {_plain(finding.sentence)}; {chance_of(finding)}.\n\n   ```sql\n   {finding.sql}\n   ```"


def _timeline(report: Report) -> Iterator[str]:
    if report.timeline_left_out:
        yield f"{report.timeline_left_out} older entries are left out.\n"
    yield from _table(
        ("time", "event", "", ""),
        (
            (
                moment(one.at),
                str(one.sequence),
                one.kind + (f" (drill: {one.synthetic})" if one.synthetic else ""),
                one.text,
            )
            for one in report.timeline
        ),
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(headings) + " |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in row) + " |"


def _plain(text: str) -> str:
    """In one line, and nothing in it is markup: a test's name may hold anything."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
