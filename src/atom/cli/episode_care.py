"""`atom episodes`: where memory lies, how long it is kept, and how it leaves."""

import json
from typing import Annotated, Any

import typer

from atom.cli.job import watch_job
from atom.cli.options import Json, example
from atom.cli.out_file import OutFile, written
from atom.cli.output import Output
from atom.cli.progress import bar
from atom.cli.target import connect
from atom.client.episodes import MemoryRules
from atom.errors import InvalidError

app = typer.Typer()
OfAgent = Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done: counts, bytes, examples.")]


@app.command(epilog=example("atom episodes archive --older-than 30 --dry-run"))
def archive(
    *,
    agent: OfAgent = None,
    older_than: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", min=0, help="Only what is older; else all of it.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Move texts to the cold store. They stay searchable, and come back with `atom episodes restore`."""
    given = {"agent": agent, "older_than_days": older_than, "dry_run": dry_run}
    with connect() as atom:
        accepted = atom.call(atom.client.episodes.archive(**_given(given)))
        watch_job(atom, Output.open(as_json), accepted.job_id)


@app.command(epilog=example("atom episodes restore 0199f1c2-..."))
def restore(
    episode_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of episodes.")] = None,
    *,
    agent: OfAgent = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are not hot.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Bring texts back into the database: of some episodes, of an agent, or all."""
    if sum((bool(episode_ids), agent is not None, everything)) != 1:
        raise InvalidError("Which ones?", hint="Give ids, --agent AGENT, or --all.")
    given = {"ids": episode_ids or None, "agent": agent, "dry_run": dry_run}
    with connect() as atom:
        accepted = atom.call(atom.client.episodes.restore(**_given(given)))
        watch_job(atom, Output.open(as_json), accepted.job_id)


@app.command(epilog=example('atom episodes correct 0199f1c2-... "The key is in the red cabinet, not in the blue one."'))
def correct(
    episode_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the episode.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What was wrong, and what is right.")],
    *,
    as_json: Json = False,
) -> None:
    """Say what was wrong with an episode: recall finds it, and the episode counts for more."""
    with connect() as atom:
        episode = atom.call(atom.client.episodes.correct(episode_id, text))
    out = Output.open(as_json)
    if as_json:
        out.json(episode.plain())
        return
    out.line(f"{episode.id} has {episode.segments} segments, importance {episode.importance:.2f}")


@app.command(epilog=example('atom episodes forget 0199f1c2-... --reason "Ann asked for it"'))
def forget(
    episode_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the episode.")],
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit and the tombstone.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete an episode for good, wherever it lies. That there was one stays on record."""
    if not yes:
        typer.confirm(f"Forget the episode {episode_id}? It cannot be brought back.", abort=True)
    with connect() as atom:
        gone = atom.call(atom.client.episodes.forget(episode_id, reason))
    out = Output.open(as_json)
    if as_json:
        out.json(gone.plain())
        return
    out.line(f"{gone.id} is forgotten.")
    if gone.cold_pending:
        out.note("Its key is gone: nobody can read it. Archives delete the encrypted bytes as well.")


@app.command(epilog=example('atom episodes policy guide --hold "Case 7"'))
def policy(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Whose memory: its name or id.")],
    *,
    decay_days: Annotated[
        int | None, typer.Option("--decay-days", metavar="N", help="Days to half its weight; 0: as in the settings.")
    ] = None,
    retention_days: Annotated[
        int | None, typer.Option("--retention-days", metavar="N", help="What is older is forgotten; 0: never.")
    ] = None,
    hold: Annotated[
        str | None, typer.Option("--hold", metavar="REASON", help="Nothing is deleted as long as it holds.")
    ] = None,
    no_hold: Annotated[bool, typer.Option("--no-hold", help="Lift the legal hold.")] = False,
    as_json: Json = False,
) -> None:
    """Show or change how long an agent's memory is kept. What is not given stays as it is."""
    if hold is not None and no_hold:
        raise InvalidError("--hold and --no-hold: give one of them.")
    changes: dict[str, Any] = {}
    changes |= {} if decay_days is None else {"decay_days": decay_days or None}
    changes |= {} if retention_days is None else {"retention_days": retention_days or None}
    changes |= {} if hold is None else {"legal_hold": True, "hold_reason": hold}
    changes |= {"legal_hold": False, "hold_reason": None} if no_hold else {}
    with connect() as atom:
        rules = atom.call(atom.client.episodes.rules(agent))
        if changes:
            before = {name: getattr(rules, name) for name in RULES}
            rules = atom.call(atom.client.episodes.set_rules(agent, {**before, **changes}))
    _print_rules(Output.open(as_json), rules)


@app.command(epilog=example("atom episodes export --agent guide -o guide.jsonl"))
def export(*, agent: OfAgent = None, output: OutFile = None, as_json: Json = False) -> None:
    """Write whole episodes as JSON lines, in whatever tier they are; `atom episodes import` reads them."""
    if as_json and output is None:
        raise InvalidError("--json says what was written to a file.", hint="Give --output, or leave --json out.")
    out, count = Output.open(as_json), 0
    with connect() as atom, written(output) as target, bar(out.notes, "Exporting") as advance:
        for item in atom.each(atom.client.episodes.export(agent)):
            target.write(json.dumps(item) + "\n")
            count += 1
            advance(count, None)
    if as_json:
        out.json({"file": str(output), "episodes": count})


RULES = ("decay_days", "retention_days", "legal_hold", "hold_reason")


def _print_rules(out: Output, rules: MemoryRules) -> None:
    if out.as_json:
        out.json(rules.plain())
        return
    held = f"yes: {rules.hold_reason}" if rules.legal_hold else "no"
    out.fields(
        [
            ("agent", rules.agent),
            ("decay days", rules.decay_days or "as in the settings"),
            ("retention days", rules.retention_days or "without end"),
            ("legal hold", held),
        ]
    )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, False)}
