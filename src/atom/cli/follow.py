"""Following a run to its end at the terminal, and what is printed then. Used by `run` and `runs follow`."""

import sys
from collections.abc import Sequence

import typer

from atom.cli.approvals import print_approval
from atom.cli.failures import INTERRUPTED, NO
from atom.cli.live import LiveRun
from atom.cli.output import Output, one_line, visible
from atom.cli.progress import Spinner
from atom.client import BlockingAtom
from atom.client.follow import Item
from atom.client.models import Event, Run, Source, Step
from atom.errors import AtomError

MOST_STEPS = 5000  # above what the limits of a run allow
MOST_SEEN = 5
HALTED = "Everything is halted: no run goes on until the halt is lifted. Who and why: atom halt"


def follow_run(atom: BlockingAtom, out: Output, run_id: str) -> Run:
    """Show the run until it ends or waits for a person, and how it stands then. Ctrl-C leaves it going."""
    view = LiveRun(out, Spinner(out.notes))
    try:
        found = atom.call(atom.client.runs.get(run_id))
        if found.halted and not found.ended:
            out.note(HALTED, "bold red")
        view.spinner.start("waiting for a worker")
        for item in atom.each(atom.client.runs.follow(run_id, on_drop=view.dropped)):
            if not out.as_json:
                view.show(item)
            if _parked(atom, item) and not _decided_here(atom, out, view, item):
                break
    except KeyboardInterrupt:
        view.end()
        out.note(f"The run goes on. Follow it: atom runs follow {run_id}   Cancel it: atom runs cancel {run_id}")
        raise typer.Exit(INTERRUPTED) from None
    except AtomError as error:
        view.end()
        if error.retryable:
            out.note(f"The run goes on without this terminal. Follow it: atom runs follow {run_id}")
        raise
    finally:
        view.end()
    run = atom.call(atom.client.runs.get(run_id))
    if out.as_json:
        out.json(with_steps(atom, run))
    else:
        print_end(out, run, shown=view)
    return run


def _decided_here(atom: BlockingAtom, out: Output, view: LiveRun, item: Item) -> bool:
    """Ask the person at the terminal. False: nobody is there, or they leave it to somebody else."""
    if out.as_json or not (out.tty and sys.stdin.isatty()) or not isinstance(item, Event) or item.run_id is None:
        return False
    view.end()
    waiting = list(atom.each(atom.client.approvals.list(status="pending", run_id=item.run_id).every(1)))
    if not waiting:
        return False
    print_approval(out, waiting[0])
    answer = typer.prompt("Approve exactly this call? [y]es, [n]o, [l]ater", default="l").strip().lower()[:1]
    if answer not in {"y", "n"}:
        return False
    decide = atom.client.approvals.approve if answer == "y" else atom.client.approvals.reject
    atom.call(decide(waiting[0].id))
    return True


def exit_like(run: Run) -> None:
    """The exit code of a command that followed a run."""
    if run.status in {"failed", "cancelled"}:
        raise typer.Exit(NO)


def tell_id(out: Output, run: Run) -> None:
    """For who does not wait."""
    if out.as_json:
        out.json({"id": run.id})
        return
    out.line(run.id)
    out.note(f"Follow it: atom runs follow {run.id}")


def with_steps(atom: BlockingAtom, run: Run) -> dict[str, object]:
    return {**run.plain(), "steps": [step.plain() for step in steps(atom, run.id)]}


def steps(atom: BlockingAtom, run_id: str) -> list[Step]:
    return list(atom.each(atom.client.runs.steps(run_id).every(MOST_STEPS)))


def print_end(out: Output, run: Run, *, shown: LiveRun) -> None:
    """What the live view has shown already is not said again."""
    if run.answer and run.answer.strip() != shown.last_reply.strip():
        out.line(run.answer)
    print_sources(out, run.sources)
    if run.model_note and run.model_note != shown.note:
        out.line(f"\nnote: {run.model_note}", "dim")
    if run.status == "waiting":
        _print_wait(out, run)
    elif run.status == "paused":
        out.line(f"The run is paused; nothing is lost. Let it go on: atom runs resume {run.id}", "bold yellow")
    elif run.error is not None:
        print_error(out, run)
    elif run.status == "cancelled":
        out.note("The run was cancelled.", "yellow")
    out.line(f"\nJournal: atom runs show {run.id}", "dim")
    if run.conversation_id and run.status == "completed":
        out.line(f'Go on: atom run {one_line(run.agent)} --conversation {run.conversation_id} "..."', "dim")


def print_sources(out: Output, sources: Sequence[Source]) -> None:
    """A source a line, `path:line: quote`, so that editors and grep understand it."""
    cited = [source for source in sources if source.cited]
    seen = [source for source in sources if not source.cited][:MOST_SEEN]
    for title, group in (("Sources", cited), ("Also found" if cited else "Found", seen)):
        if group:
            out.line(f"\n{title}:", "bold")
        for source in group:
            out.line(f"{one_line(source.path, 1000)}:{source.line}: {one_line(source.quote, 1000)}")


def print_error(out: Output, run: Run) -> None:
    if run.error is None:
        return
    out.note(f"The run failed: {visible(run.error.message)}", "red")
    if run.error.hint:
        out.note(f"hint: {visible(run.error.hint)}", "")
    out.note(f"code: {run.error.code}", "dim")


def _print_wait(out: Output, run: Run) -> None:
    reason = f" for {run.wait_reason}" if run.wait_reason else ""
    out.line(f"The run waits{reason}; nothing is lost, and it uses nothing while it waits.", "bold yellow")
    if run.wait_reason == "approval":
        out.line("Decide it: atom approvals list, then atom approvals approve ID or atom approvals reject ID")
    if run.wait_detail:
        out.line(visible(run.wait_detail))
    if run.wait_reason == "budget":
        out.line("See and raise limits: atom keys budgets, atom keys budget --help")
    if run.wait_reason == "review":
        out.line(f"A worker died in the middle of a call. Look what it did: atom runs review {run.id}")
    out.line(f"Follow it later: atom runs follow {run.id}   Cancel it: atom runs cancel {run.id}")


def _parked(atom: BlockingAtom, item: Item) -> bool:
    """Whether the run waits for a person now: an event of the past may have been answered since.

    A run that waits for another agent's, or for a provider, goes on by itself.
    """
    if not isinstance(item, Event) or item.type not in {"run.waiting", "run.paused"} or item.run_id is None:
        return False
    run = atom.call(atom.client.runs.get(item.run_id))
    return run.status == "paused" or (run.status == "waiting" and run.wait_reason not in {"child", "provider"})
