"""`atom cache`."""

from typing import Annotated

import typer

from atom.cli.failures import NO
from atom.cli.options import Json, example
from atom.cli.output import Output
from atom.cli.target import connect

app = typer.Typer()


@app.command(epilog=example("atom cache stats"))
def stats(as_json: Json = False) -> None:
    """Show where answers are kept, and how many."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.cache.stats())
    if as_json:
        out.json(found.plain())
        return
    out.fields([("kept in", found.place), ("answers", found.entries), ("bytes", f"{found.bytes} of {found.max_bytes}")])
    if found.away:
        out.note("Redis does not answer: this process keeps its own meanwhile.", "yellow")


@app.command(epilog=example("atom cache clear"))
def clear(as_json: Json = False) -> None:
    """Drop every kept answer."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.cache.clear())
    if as_json:
        out.json(found.plain())
        return
    out.line(f"{found.cleared} answers dropped.")


@app.command(epilog=example("atom cache warm guide cleaner"))
def warm(
    agents: Annotated[list[str], typer.Argument(metavar="AGENT...", help="Names or ids of agents.")],
    as_json: Json = False,
) -> None:
    """Decide beforehand what these agents may do, on every replica. Exits 1 when one of them is not there."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.governance.warm(agents))
    if as_json:
        out.json(found.plain())
    else:
        out.line(f"{found.warmed} agents warmed, {found.decisions} new decisions.")
    for name in found.unknown:
        out.note(f"There is no agent {name!r}.", "yellow")
    if found.unknown:
        raise typer.Exit(NO)


@app.command("clear-decisions", epilog=example("atom cache clear-decisions"))
def clear_decisions(as_json: Json = False) -> None:
    """Forget every cached decision, on every replica. Only speed depends on them."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.governance.clear())
    if as_json:
        out.json(found.plain())
    else:
        out.line(f"{found.cleared} decisions forgotten here; the other replicas follow.")
