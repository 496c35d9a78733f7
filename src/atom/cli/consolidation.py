"""`atom episodes consolidate` and `split`."""

from typing import Annotated

import typer

from atom.cli.job import watch_job
from atom.cli.options import Json, example
from atom.cli.output import Output
from atom.cli.target import connect

app = typer.Typer()


@app.command(epilog=example("atom episodes consolidate --dry-run"))
def consolidate(
    *,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Sum up old episodes that are alike. They stay, word for word, and take less room."""
    out = Output.open(as_json)
    with connect() as atom:
        accepted = atom.call(atom.client.episodes.consolidate(agent, dry_run=dry_run))
        watch_job(atom, out, accepted.job_id)


@app.command(epilog=example("atom episodes split 0199f1c2-..."))
def split(
    episode_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a consolidated episode.")],
    *,
    as_json: Json = False,
) -> None:
    """Undo a consolidation: what was summed up is hot again, and is left so."""
    out = Output.open(as_json)
    with connect() as atom:
        done = atom.call(atom.client.episodes.split(episode_id))
    if as_json:
        out.json(done.plain())
        return
    out.line(f"{done.id} is split: {len(done.sources)} episodes are back")
    for source in done.sources:
        out.line(f"  {source}")
