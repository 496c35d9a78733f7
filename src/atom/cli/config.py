"""`atom config`."""

from dataclasses import asdict

import typer

from atom.cli.options import Json, example
from atom.cli.output import Output
from atom.settings import load, origins

app = typer.Typer()


@app.callback()
def config() -> None:
    """Show the effective settings and their source."""


@app.command(epilog=example("atom config show"))
def show(as_json: Json = False) -> None:
    """Show every setting as it is in effect, where it comes from and what it means. Secrets are masked."""
    out = Output.open(as_json)
    rows = origins(load())
    if as_json:
        out.json({"items": [asdict(row) for row in rows]})
        return
    out.table(
        ("setting", "value", "source", "meaning"), ((row.name, row.value, row.source, row.description) for row in rows)
    )
