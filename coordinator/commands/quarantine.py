"""`resurgam quarantine`: work that is not run any more because workers died under it, and letting it run again."""

import asyncio
import difflib
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from coordinator.commands.common import STATE_DIR, AsJson, Namespace, NatsUrl, StateDir, actor, command_app, echo_json
from coordinator.faults import UsageFault

if TYPE_CHECKING:
    from coordinator.access import System
    from recovery.state import State

app = command_app("Work that is not run any more because workers died under it.")

RELEASE_S_MAX = 10.0


@app.command(name="list")
def list_quarantined(
    *,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Lists what is quarantined: its key, what it is, since when and until when, and what died under it."""
    from coordinator.access import open_system

    async def work() -> list[dict[str, object]]:
        async with open_system(nats_url=nats_url, namespace=namespace, state_dir=state_dir) as system:
            return rows(await _folded(system))

    found = asyncio.run(work())
    if as_json:
        echo_json(found)
        return
    if not found:
        typer.echo("nothing is quarantined")
        return
    from replay.tables import console, table

    made = table("KEY", "WORK", "SINCE", "UNTIL", "TASK", "DEATHS")
    for row in found:
        deaths = row["deaths"]
        assert isinstance(deaths, list)
        told = "; ".join(f"{one['worker_id']}: {one['reason']} (event {one['sequence']})" for one in deaths)
        since, until = (f"{row[name]:%Y-%m-%d %H:%M}" for name in ("since", "until"))
        made.add_row(str(row["key"]), str(row["work"]), since, until, str(row["task_id"]), told)
    console().print(made)


@app.command()
def release(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="As 'resurgam quarantine list' shows them.")],
    *,
    reason: Annotated[str, typer.Option(help="Why, for the log.")] = "",
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Lets work run again that had been quarantined. Nothing of what is known of it counts any more.

    Ends with 2 if one of the keys is not quarantined; then none is released.
    """
    from coordinator.access import open_system

    async def work() -> list[dict[str, object]]:
        async with open_system(nats_url=nats_url, namespace=namespace, state_dir=state_dir) as system:
            known = {str(row["key"]): row for row in rows(await _folded(system))}
            for key in keys:
                if key not in known:
                    near = difflib.get_close_matches(key, known, 1, 0.5)
                    hint = f"did you mean {near[0]}?" if near else "'resurgam quarantine list' shows what is"
                    raise UsageFault(f"{key!r} is not quarantined; {hint}")
            return [await _release(system, key, str(known[key]["work"]), reason) for key in dict.fromkeys(keys)]

    for released in asyncio.run(work()):
        if as_json:
            typer.echo(msgspec.json.encode(released).decode())
        else:
            typer.echo(f"{released['key']} ({released['work']}) may run again, from event {released['sequence']} on")


async def _release(system: "System", key: str, work: str, reason: str) -> dict[str, object]:
    from events.identity import as_id
    from events.system import QuarantineReleased
    from events.writer import Writer

    who = actor()
    event = QuarantineReleased(key=key, actor=who, reason=reason)
    stored = await Writer(system.log, f"cli/{as_id(who)}").write(event, patience_s=RELEASE_S_MAX)
    return {"key": key, "work": work, "actor": who, "reason": reason, "sequence": stored.last}


def rows(state: "State") -> list[dict[str, object]]:
    """What is quarantined now, by the broker's clock as far as the log tells it, oldest first."""
    from events.clock import utc
    from events.host import host
    from recovery.poison import expired

    now = host().wall()
    return [
        {
            "key": key,
            "work": entry.name,
            "task_id": entry.task_id,
            "sequence": entry.sequence,
            "since": utc(entry.since),
            "until": utc(entry.since + state.policy.quarantine_ttl),
            "deaths": [msgspec.structs.asdict(death) for death in entry.deaths],
        }
        for key, entry in state.quarantine.items()
        if not expired(state, entry, now)
    ]


async def _folded(system: "System") -> "State":
    from replay.fold import fold

    return await fold(system.log)
