"""`resurgam patterns`: what the history shows that is no chance."""

from typing import TYPE_CHECKING

import typer

from coordinator.commands.common import STATE_DIR, AsJson, Namespace, NatsUrl, StateDir, command_app, echo_json
from coordinator.commands.histories import DbPath, Since, Until, Where, opened, window_of

if TYPE_CHECKING:
    from projections.patterns.search import Patterns
    from projections.window import Window

app = command_app()


@app.command()
def patterns(
    *,
    since: Since = "30d",
    until: Until = None,
    as_json: AsJson = False,
    db_path: DbPath = None,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Looks for patterns in the failures: workers that fail together, tests that kill workers, times of day, what
    comes before, and what has become worse with a change of the policy.

    Each with how sure it is, for all that was tried, and the SQL that shows the rows. docs/patterns.md says more.
    """
    from projections.patterns.search import find

    with opened(Where(db_path, nats_url, namespace, state_dir)) as (history, end):
        found, window = None, None
        if end is not None:
            window = window_of(since, until, end)
            found = find(history, window)
    if found is None or window is None:
        if as_json:
            echo_json({"findings": [], "tried": 0, "failures": 0})
        else:
            typer.echo("no patterns: the history holds no event yet")
    elif as_json:
        import msgspec

        echo_json({"since": window.since, "until": window.until, **msgspec.structs.asdict(found)})
    else:
        _say(found, window)


def _say(found: "Patterns", window: "Window") -> None:
    from projections.patterns.words import chance_of, conclusion

    typer.echo(f"{window}: {conclusion(found)}")
    for number, finding in enumerate(found.findings, start=1):
        typer.echo(f"\n{number}. {finding.sentence}; {chance_of(finding)}")
        typer.echo(f"   {finding.sql}")
