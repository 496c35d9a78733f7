"""`atom jobs`."""

from typing import Annotated

import typer

from atom.cli.failures import INTERRUPTED, NO
from atom.cli.options import After, JobArgument, Json, Limit, example
from atom.cli.output import Output, moment, one_line, to_json
from atom.cli.progress import bar
from atom.cli.target import connect
from atom.client import BlockingAtom
from atom.client.models import Job

app = typer.Typer()


@app.command("list", epilog=example("atom jobs list"))
def list_jobs(*, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List long work, the newest first."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.jobs.list().page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    columns = ("id", "kind", "status", "done", "created", "ended")
    rows = (
        (job.id, job.kind, job.status, _done(job), moment(job.created_at), moment(job.ended_at)) for job in page.items
    )
    out.table(columns, rows)
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom jobs show 0199f1c2-... --follow"))
def show(
    job_id: JobArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Watch it to its end; exits 1 if it fails.")] = False,
    as_json: Json = False,
) -> None:
    """Show a job."""
    out = Output.open(as_json)
    with connect() as atom:
        if follow:
            watch_job(atom, out, job_id)
            return
        print_job(out, atom.call(atom.client.jobs.get(job_id)))


@app.command(epilog=example("atom jobs cancel 0199f1c2-..."))
def cancel(job_id: JobArgument, as_json: Json = False) -> None:
    """Cancel a job. What it has done stays done."""
    with connect() as atom:
        print_job(Output.open(as_json), atom.call(atom.client.jobs.cancel(job_id)))


def watch_job(atom: BlockingAtom, out: Output, job_id: str) -> None:
    """Show a job as a bar until it has ended; exits 1 when it did not complete."""
    job: Job | None = None
    try:
        with bar(out.notes, "Waiting") as advance:
            for job in atom.each(atom.client.jobs.watch(job_id)):
                advance(job.done, job.total)
    except KeyboardInterrupt:
        out.note(f"The job goes on. Follow it: atom jobs show {job_id} --follow")
        raise typer.Exit(INTERRUPTED) from None
    if job is not None:
        print_job(out, job)
        if job.status != "completed":
            raise typer.Exit(NO)


def print_job(out: Output, job: Job) -> None:
    if out.as_json:
        out.json(job.plain())
        return
    out.fields(
        [
            ("job", job.id),
            ("kind", job.kind),
            ("status", job.status),
            ("done", _done(job)),
            ("created", moment(job.created_at)),
            ("started", moment(job.started_at)),
            ("ended", moment(job.ended_at)),
            ("report", _value(job.report)),
            ("error", _value(job.error)),
        ]
    )


def _done(job: Job) -> str:
    return f"{job.done}/{job.total}" if job.total is not None else str(job.done)


def _value(value: object) -> str:
    if value is None:
        return ""
    return one_line(value, 2000) if isinstance(value, str) else to_json(value)
