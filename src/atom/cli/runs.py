"""`atom runs`."""

from pathlib import Path
from typing import Annotated

import typer

from atom.cli import maturity
from atom.cli.failures import NO
from atom.cli.follow import HALTED, exit_like, follow_run, print_error, print_sources, steps, tell_id, with_steps
from atom.cli.options import After, Json, Limit, RunArgument, RunStatus, example
from atom.cli.output import Output, dollars, moment, one_line, to_json
from atom.cli.target import connect
from atom.client.models import Run, RunPage, Step
from atom.errors import InvalidError

app = typer.Typer()
maturity.add_to_runs(app)


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
    if isinstance(page, RunPage) and page.halted:
        out.note(HALTED, "bold red")


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
    if run.halted and not run.ended:
        out.note(HALTED, "bold red")
    _print_journal(out, journal)
    _print_open_call(out, run)


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


@app.command(epilog=example("atom runs pause 0199f1c2-..."))
def pause(run_id: RunArgument, as_json: Json = False) -> None:
    """Pause a run at its next step, and those it has started. Nothing is lost."""
    with connect() as atom:
        _tell(Output.open(as_json), atom.call(atom.client.runs.pause(run_id)), "stops at its next step")


@app.command(epilog=example("atom runs resume 0199f1c2-..."))
def resume(run_id: RunArgument, as_json: Json = False) -> None:
    """Let a paused run go on where it stopped."""
    with connect() as atom:
        _tell(Output.open(as_json), atom.call(atom.client.runs.resume(run_id)), "goes on")


@app.command(epilog=example('atom runs correct 0199f1c2-... "use last year\'s figures"'))
def correct(
    run_id: RunArgument,
    note: Annotated[str, typer.Argument(metavar="TEXT", help="What its model reads before the next turn.")],
    as_json: Json = False,
) -> None:
    """Tell a run that goes on what to do otherwise."""
    with connect() as atom:
        _tell(Output.open(as_json), atom.call(atom.client.runs.correct(run_id, note)), "reads it before its next turn")


@app.command("take-over", epilog=example('atom runs take-over 0199f1c2-... "I did it myself: 42."'))
def take_over(
    run_id: RunArgument,
    answer: Annotated[str, typer.Argument(metavar="ANSWER", help="What the run ends with.")],
    as_json: Json = False,
) -> None:
    """End a run that no worker has (pause it first) with your own answer."""
    with connect() as atom:
        _tell(Output.open(as_json), atom.call(atom.client.runs.take_over(run_id, answer)), "is being ended")


@app.command(epilog=example("atom runs retry 0199f1c2-..."))
def retry(
    run_id: RunArgument,
    *,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the new run's id and return at once.")] = False,
    as_json: Json = False,
) -> None:
    """Do the task of an ended run anew, as a new run of the agent as it is now."""
    out = Output.open(as_json)
    with connect() as atom:
        started = atom.call(atom.client.runs.retry(run_id))
        if no_wait:
            tell_id(out, started)
            return
        exit_like(follow_run(atom, out, started.id))


@app.command(epilog=example('atom runs review 0199f1c2-... --done "the mail was sent"'))
def review(
    run_id: RunArgument,
    *,
    again: Annotated[bool, typer.Option("--retry", help="It did not happen: make the call once more.")] = False,
    done: Annotated[str | None, typer.Option("--done", metavar="RESULT", help="It happened, with this result.")] = None,
    abort: Annotated[bool, typer.Option("--abort", help="End the run.")] = False,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why; kept with the decision.")] = None,
    as_json: Json = False,
) -> None:
    """Show the call that a worker died in, or say what to do about it."""
    out = Output.open(as_json)
    decisions = [name for name, given in (("retry", again), ("done", done is not None), ("abort", abort)) if given]
    if len(decisions) > 1:
        raise InvalidError(f"--{decisions[0]} and --{decisions[1]} are both given.", hint="Decide for one of them.")
    with connect() as atom:
        run = atom.call(atom.client.runs.get(run_id))
        if not decisions or run.review is None:
            _print_review(out, run)
            return
        _tell(out, atom.call(atom.client.runs.review(run_id, run.review.step, decisions[0], result=done, note=note)))


@app.command(epilog=example("atom runs artefacts 0199f1c2-..."))
def artefacts(run_id: RunArgument, *, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List the files that a run left in its workspace."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.runs.artefacts(run_id).page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    rows = ((one.path, one.bytes, one.step, moment(one.written_at), one.sha256) for one in page.items)
    out.table(("path", "bytes", "step", "written", "sha256"), rows)
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom runs download 0199f1c2-... report.md --output report.md"))
def download(
    run_id: RunArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Path as `atom runs artefacts` lists it.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Where to; default: its name.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch a file that a run left, if it still is as the run left it."""
    target = output or Path(Path(path).name)
    if target.exists() and not force:
        raise InvalidError(f"{target} is there already.", hint="--output names another place, --force replaces it.")
    with connect() as atom:
        content = atom.call(atom.client.runs.download(run_id, path))
    try:
        target.write_bytes(content)
    except OSError as error:
        raise InvalidError(f"{target} cannot be written: {error.strerror}.", hint="Name another --output.") from error
    out = Output.open(as_json)
    if as_json:
        out.json({"path": path, "file": str(target), "bytes": len(content)})
        return
    out.line(f"{target}: {len(content)} bytes")


def _print_review(out: Output, run: Run) -> None:
    if out.as_json:
        out.json(run.plain())
    elif run.review is not None:
        _print_open_call(out, run)
    if run.review is None:
        if not out.as_json:
            out.note(f"Run {run.id} waits for no review: it is {_state(run)}.")
        raise typer.Exit(NO)


def _print_open_call(out: Output, run: Run) -> None:
    if run.review is None:
        return
    out.line("\nA worker died in the middle of this call; nobody knows whether it took effect:", "bold yellow")
    out.fields(
        [
            ("step", run.review.step),
            ("tool", run.review.tool),
            ("arguments", to_json(run.review.arguments)),
            ("began", moment(run.review.started_at)),
        ]
    )
    out.line(f'Decide: atom runs review {run.id} --retry, --done "what it did", or --abort')


def _tell(out: Output, run: Run, otherwise: str = "") -> None:
    if out.as_json:
        out.json(run.plain())
        return
    later = f", {otherwise}" if run.status == "running" and otherwise else ""
    out.line(f"{run.id} {_state(run)}{later}")


def _recalled(run: Run) -> str | None:
    if run.recalled is None:
        return None
    mentioned = f", {len(run.recalled.mentioned)} only mentioned" if run.recalled.mentioned else ""
    shown = " ".join(run.recalled.quoted)
    return f"{len(run.recalled.quoted)} episodes{mentioned}{f': {shown}' if shown else ''}"


def _state(run: Run) -> str:
    return f"{run.status}/{run.wait_reason}" if run.wait_reason else run.status


def _print_run(out: Output, run: Run) -> None:
    model = "/".join(part for part in (run.provider, run.model) if part)
    used = [f"{run.usage.model_calls} model calls", f"{run.usage.tool_calls} tool calls"]
    tokens = {"in": run.usage.input_tokens, "out": run.usage.output_tokens}
    used += [f"{count} tokens {way}" for way, count in tokens.items() if count is not None]
    used += [dollars(run.usage.cost_usd)] if run.usage.cost_usd is not None else []
    out.fields(
        [
            ("run", run.id),
            ("agent", run.agent),
            ("status", _state(run)),
            ("waits for", run.wait_detail),
            ("tried again", moment(run.resume_at) if run.resume_at else None),
            ("priority", run.priority),
            ("has read", ", ".join(run.labels) or None),
            ("recalled", _recalled(run)),
            ("skills", ", ".join(run.offered)),
            ("part of", run.parent_id),
            ("retry of", run.retry_of),
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
    rows = ((step.no, step.kind, step.name, _done(step), moment(step.started_at), _seconds(step)) for step in journal)
    out.table(("no", "kind", "name", "status", "started", "seconds"), rows)


def _done(step: Step) -> str:
    cached = isinstance(step.result, dict) and step.result.get("cache_hit") is True
    return f"{step.status}, from the cache" if cached else step.status


def _seconds(step: Step) -> str:
    if step.started_at is None or step.ended_at is None:
        return "-"
    return f"{(step.ended_at - step.started_at).total_seconds():.2f}"
