"""The lives of workers, tasks, attempts and incidents as Mermaid state diagrams, drawn from their tables.

python -m replay.diagrams > docs/lifecycles.md
"""

from collections.abc import Iterable, Mapping
from typing import Any

from events.base import Event
from events.kinds import tag_of
from recovery.lifecycle import ATTEMPT, INCIDENT, LIVE, TASK, WORKER

INTRODUCTION = """\
# Lifecycles

What may follow what, drawn from the tables in `recovery/lifecycle.py` by `python -m replay.diagrams`. An event that
fits no arrow changes nothing and is counted: the log may hold stale, doubled and made-up events, and a fold survives
all of them. Arrows bear the names of events; what stays where it is has no arrow, but is listed below the picture.
"""

WORKER_WORDS = """\
One that nobody has heard of is `stopped`. While it is {live}, its word counts and its tasks are its own. It gets work
when it is `alive`, and neither an attempt to bring it back nor a cordon is open."""

CHAPTERS: tuple[tuple[str, str], ...] = (
    ("A worker", WORKER_WORDS),
    ("A task", "`finished` and `returned`: the worker has spoken, the leader has not."),
    ("An attempt to bring a worker back", "One at a time for each worker. It ends as succeeded, failed or superseded."),
    ("An incident", "One of a kind at a time."),
)


def page() -> str:
    tables: tuple[str, ...] = (
        _diagram(WORKER, first=("stopped",)),
        _diagram(TASK, first=("queued",)),
        _diagram(ATTEMPT),
        _diagram(INCIDENT),
    )
    live = ", ".join(f"`{name}`" for name in sorted(LIVE))
    chapters = (
        f"## {title}\n\n{words.format(live=live)}\n\n{table}"
        for (title, words), table in zip(CHAPTERS, tables, strict=True)
    )
    return "\n".join([INTRODUCTION, *chapters])


def _diagram(table: Mapping[Any, str | None], first: Iterable[str] = ()) -> str:
    """`table`: what follows a pair of a state and a kind of event; None is before the beginning, and behind the end.
    Several events between the same two states share an arrow."""
    arrows: dict[tuple[str | None, str | None], list[str]] = {}
    staying: dict[str, list[str]] = {}
    for (before, kind), after in table.items():
        if before == after and before is not None:
            staying.setdefault(before, []).append(tag_of(kind))
        else:
            arrows.setdefault((before, after), []).append(_word(kind))
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR", *(f"    [*] --> {name}" for name in first)]
    for (before, after), words in arrows.items():
        lines.append(f"    {before or '[*]'} --> {after or '[*]'}: {', '.join(words)}")
    lines += ["```", ""]
    lines += [f"- `{state}` stays so at {', '.join(f'`{tag}`' for tag in tags)}" for state, tags in staying.items()]
    return "\n".join([*lines, ""] if staying else lines)


def _word(kind: type[Event]) -> str:
    return tag_of(kind).partition(".")[2].replace("_", " ")


if __name__ == "__main__":
    print(page(), end="")
