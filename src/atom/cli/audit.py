"""`atom audit`: what was decided, and the proof that nobody has changed it since."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from atom.cli.audit_reading import Export, Sources, export_lines, from_file, from_server
from atom.cli.failures import NO
from atom.cli.options import After, Json, Limit, example
from atom.cli.out_file import OutFile, written
from atom.cli.output import Output, moment
from atom.cli.progress import bar
from atom.cli.target import connect
from atom.errors import InvalidError
from atom.governance.audit.findings import Report

app = typer.Typer()
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From then on (2026-01-31T08:00:00Z).")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then.")]


@app.command("list", epilog=example("atom audit list --actor admin:ann --since 2026-01-31"))
def list_audit(
    *,
    actor: Annotated[str | None, typer.Option("--actor", metavar="NAME", help="Whose, as admin:ann.")] = None,
    action: Annotated[str | None, typer.Option("--action", metavar="NAME", help="Exact name of the action.")] = None,
    decision: Annotated[str | None, typer.Option("--decision", metavar="WORD", help="allow, ask, deny, ...")] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Name or id of the agent.")] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="Id of the run.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List decisions, the newest first."""
    out = Output.open(as_json)
    filters = {
        "actor": actor, "action": action, "decision": decision, "run_id": run, "since": _time("--since", since),
        "until": _time("--until", until),
    }  # fmt: skip
    with connect() as atom:
        filters["agent_id"] = atom.call(atom.client.agents.get(agent)).id if agent else None
        page = atom.call(atom.client.audit.page(limit, after=after, **filters))
    if as_json:
        out.json(page.plain())
        return
    columns = ("seq", "at", "actor", "action", "decision", "reason", "run")
    out.table(
        columns,
        (
            ("-" if one.seq is None else one.seq, moment(one.at), one.actor, one.action, one.decision, one.reason,
             one.run_id or "-")
            for one in page.items
        ),
    )  # fmt: skip
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom audit verify --anchors audit-anchors.jsonl --public-key audit.pub"))
def verify(
    *,
    anchors: Annotated[
        Path | None, typer.Option("--anchors", metavar="FILE", help="Your copy of the anchors, or log lines with them.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", metavar="FILE", help="Your copy of the public key (PEM).")
    ] = None,
    start: Annotated[int, typer.Option("--from", metavar="SEQ", min=1, help="Begin at this row.")] = 1,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Verify an export; no server is asked.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute every hash anew, here, and hold the chain against its anchors. Exits 1 when anything is wrong."""
    out = Output.open(as_json)
    sources = Sources(anchors, public_key, start)
    with bar(out.notes, "Verifying") as advance:
        if file is not None:
            report = from_file(file, sources, advance)
        else:
            with connect() as atom:
                report = from_server(atom, sources, advance)
    _print(out, report)
    if not report.ok:
        raise typer.Exit(NO)


@app.command(epilog=example("atom audit export --since 2026-01-01 -o audit.jsonl"))
def export(*, since: Since = None, until: Until = None, output: OutFile = None, as_json: Json = False) -> None:
    """Write the chain as JSON lines with its hashes. `atom audit verify --file` reads it."""
    if as_json and output is None:
        raise InvalidError("--json says what was written to a file.", hint="Give --output, or leave --json out.")
    out = Output.open(as_json)
    wanted, rows = Export(_time("--since", since), _time("--until", until)), -1  # the first line is none
    with connect() as atom, written(output) as target, bar(out.notes, "Exporting") as advance:
        for line in export_lines(atom, wanted, advance):
            target.write(line + "\n")
            rows += 1
    if as_json:
        out.json({"file": str(output), "rows": rows})


@app.command(epilog=example("atom audit key -o audit.pub"))
def key(*, output: OutFile = None, as_json: Json = False) -> None:
    """Print the public key that anchors are checked with. Keep it where this deployment cannot reach it."""
    with connect() as atom:
        found = atom.call(atom.client.audit.key())
    if as_json:
        Output.open(as_json).json(found.plain())
        return
    with written(output) as target:
        target.write(found.public_key)


@app.command(epilog=example('atom audit reseal --reason "restored from the backup of Monday, 02:00"'))
def reseal(
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why the chain is not what was anchored.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """After a restore: accept the chain as it is. It is written into the chain with your name, and signed."""
    if not yes:
        typer.confirm("Anchors that the chain contradicts will count no more. Reseal?", abort=True)
    out = Output.open(as_json)
    with connect() as atom:
        done = atom.call(atom.client.audit.reseal(reason))
    if as_json:
        out.json(done.plain())
        return
    out.line(f"Resealed at seq {done.seq}; anchors of before count up to seq {done.trusted}.")


def _print(out: Output, report: Report) -> None:
    if out.as_json:
        out.json(report.plain())
        return
    for one in report.findings:
        place = str(one.seq) if one.until <= one.seq else f"{one.seq}-{one.until}"
        out.line(f"{one.kind.value} at seq {place}: {one.detail}", "bold red")
    for note in report.notes:
        out.note(note)
    span = f"{report.rows} rows (seq {report.first} to {report.last}), {report.anchors} anchors"
    if report.ok:
        out.line(f"The audit chain is whole: {span}.")
        out.note(f"Its end: {report.hash}")
    else:
        out.line(f"The audit chain is broken: {len(report.findings)} findings in {span}.", "bold red")


def _time(option: str, text: str | None) -> str | None:
    """A time for the server; without a zone it is UTC."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidError(f"{option}: {text!r} is no time.", hint="Write it as 2026-01-31T08:00:00Z.") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()
