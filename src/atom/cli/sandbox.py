"""`atom skills sandbox`."""

import asyncio

import typer

from atom.cli.failures import NO
from atom.cli.options import Json, example
from atom.cli.output import Output
from atom.infra import log
from atom.settings import load
from atom.skills.sandbox.models import NEEDS, Level, Report
from atom.skills.sandbox.service import missing, probe_all

app = typer.Typer()
STYLES = {Level.ENFORCED: "green", Level.BEST_EFFORT: "yellow", Level.ABSENT: "bold red"}


@app.callback()
def sandbox() -> None:
    """What skills run in."""


@app.command(epilog=example("atom skills sandbox probe"))
def probe(as_json: Json = False) -> None:
    """Try to get out of each sandbox of this machine, and say what held. Exits 1 when none will do."""
    out = Output.open(as_json)
    every = load()
    log.configure(every.logging.level, every.logging.file, stdout=False)
    settings = every.sandbox
    reports = asyncio.run(probe_all(settings))
    notes = missing(settings)
    taken = next((report.backend for report in reports if not report.lacks(NEEDS)), None)
    if as_json:
        out.json({"backend": taken, "notes": notes, "backends": [report.plain() for report in reports]})
    else:
        for report in reports:
            _print(out, report)
        for note in notes:
            out.note(note, "yellow")
        out.line(
            f"The sandbox for skills here: {taken}." if taken else "No sandbox here keeps what must be kept.", "bold"
        )
    if taken is None:
        raise typer.Exit(NO)


def _print(out: Output, report: Report) -> None:
    out.line(f"{report.backend}: {', '.join(report.languages) or 'no language'}", "bold")
    width = max(map(len, report.evidence), default=0)
    for guarantee, found in report.evidence.items():
        out.write(f"  {guarantee:<{width}}  ")
        out.write(f"{found.level!s:<11}  ", STYLES[found.level])
        out.line(f"{found.canary}: {found.value}".splitlines()[0])
    for note in report.notes:
        out.note(note, "yellow")
    out.line()
