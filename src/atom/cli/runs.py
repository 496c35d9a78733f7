"""`atom runs`."""

from typing import Annotated

import typer

from atom.cli.follow import exit_like, follow_run, print_error, print_sources, steps, with_steps
from atom.cli.options import After, Json, Limit, RunArgument, RunStatus, example
from atom.cli.output import Output, moment, one_line
from atom.cli.target import connect
from atom.client.models import Run, Step

app = typer.Typer()


@app.command("list", epilog=example("atom runs list --agent guide --status failed"))
def list_runs(
    *,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent's runs.")] = None,
    status: Annotated[RunStatus | None, typer.Option("--status", help="Only runs in this state.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.runs.list(agent=agent, status=status).page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    columns = ("id", "agent", "status", "created", "task")
    out.table(columns, ((run.id, run.agent, _state(run), moment(run.created_at), run.task) for run in page.items))
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom runs show 0199f1c2-... --json"))
def show(run_id: RunArgument, as_json: Json = False) -> None:
    """Show a run and its journal."""
    out = Output.open(as_json)
    with connect() as atom:
        run = atom.call(atom.client.runs.get(run_id))
        if as_json:
            out.json(with_steps(atom, run))
            return
        journal = steps(atom, run_id)
    _print_run(out, run)
    _print_journal(out, journal)


@app.command(epilog=example("atom runs follow 0199f1c2-..."))
def follow(run_id: RunArgument, as_json: Json = False) -> None:
    """Show a run from its beginning and watch it to its end."""
    out = Output.open(as_json)
    with connect() as atom:
        run = atom.call(atom.client.runs.get(run_id))
        if not as_json:
            out.line(f"task: {one_line(run.task, 500)}", "dim")
        exit_like(follow_run(atom, out, run.id))


@app.command(epilog=example("atom runs cancel 0199f1c2-..."))
def cancel(run_id: RunArgument, as_json: Json = False) -> None:
    """Cancel a run: nothing further is begun."""
    out = Output.open(as_json)
    with connect() as atom:
        run = atom.call(atom.client.runs.cancel(run_id))
    if as_json:
        out.json(run.plain())
        return
    out.line(f"{run.id} {run.status}" if run.ended else f"{run.id} {run.status}, ends after the step it is in")


def _state(run: Run) -> str:
    return f"{run.status}/{run.wait_reason}" if run.wait_reason else run.status


def _print_run(out: Output, run: Run) -> None:
    model = "/".join(part for part in (run.provider, run.model) if part)
    used = [f"{run.usage.model_calls} model calls", f"{run.usage.tool_calls} tool calls"]
    tokens = {"in": run.usage.input_tokens, "out": run.usage.output_tokens}
    used += [f"{count} tokens {way}" for way, count in tokens.items() if count is not None]
    out.fields(
        [
            ("run", run.id),
            ("agent", run.agent),
            ("status", _state(run)),
            ("model", model),
            ("note", run.model_note),
            ("created", moment(run.created_at)),
            ("started", moment(run.started_at)),
            ("ended", moment(run.ended_at)),
            ("used", ", ".join(used)),
            ("conversation", run.conversation_id),
            ("task", run.task),
        ]
    )
    if run.answer:
        out.line("\nAnswer:", "bold")
        out.line(run.answer)
    print_sources(out, run.sources)
    print_error(out, run)


def _print_journal(out: Output, journal: list[Step]) -> None:
    if not journal:
        return
    out.line("\nJournal:", "bold")
    rows = ((step.no, step.kind, step.name, step.status, moment(step.started_at), _seconds(step)) for step in journal)
    out.table(("no", "kind", "name", "status", "started", "seconds"), rows)


def _seconds(step: Step) -> str:
    if step.started_at is None or step.ended_at is None:
        return "-"
    return f"{(step.ended_at - step.started_at).total_seconds():.2f}"
