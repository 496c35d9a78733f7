"""`atom cache`."""

import typer

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
