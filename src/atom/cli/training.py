"""`atom training`."""

from enum import StrEnum
from typing import Annotated

import typer

from atom.cli.follow import exit_like, follow_run
from atom.cli.maturity import Bad, Good, Note, Score, chosen_score
from atom.cli.options import After, Json, Limit, example
from atom.cli.output import Output, moment, one_line
from atom.cli.target import connect
from atom.client import BlockingAtom
from atom.client.maturity import TrainingSession

app = typer.Typer()
TrainingArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the training session.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not watch the run; return at once.")]


class Which(StrEnum):
    PROPOSED = "proposed"
    OPEN = "open"
    RATED = "rated"
    DISMISSED = "dismissed"


@app.command("list", epilog=example("atom training list --status proposed"))
def list_training(
    *,
    status: Annotated[Which | None, typer.Option("--status", help="Only those in this state.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent's.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List training sessions, the newest first."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.training.page(limit, after=after, agent=agent, status=status))
    if as_json:
        out.json(page.plain())
        return
    rows = ((one.id, one.agent, one.status, one.origin, moment(one.created_at), one.task) for one in page.items)
    out.table(("id", "agent", "status", "origin", "proposed", "task"), rows)
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom training show 0199f1c2-..."))
def show(training_id: TrainingArgument, as_json: Json = False) -> None:
    """Show a training session."""
    with connect() as atom:
        _print(Output.open(as_json), atom.call(atom.client.training.get(training_id)))


@app.command("open", epilog=example("atom training open 0199f1c2-..."))
def open_session(training_id: TrainingArgument, *, no_wait: NoWait = False, as_json: Json = False) -> None:
    """Start the task as a run of yours, and watch it. What the agent may not do alone asks, as always."""
    out = Output.open(as_json)
    with connect() as atom:
        _watch(atom, out, atom.call(atom.client.training.open(training_id)), no_wait=no_wait)


@app.command(epilog=example('atom training correct 0199f1c2-... "You forgot the second page."'))
def correct(
    training_id: TrainingArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What was wrong, and how to go on.")],
    *,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> None:
    """Say what was wrong; the agent goes on in the same conversation."""
    out = Output.open(as_json)
    with connect() as atom:
        _watch(atom, out, atom.call(atom.client.training.correct(training_id, text)), no_wait=no_wait)


@app.command(epilog=example("atom training rate 0199f1c2-... --good"))
def rate(
    training_id: TrainingArgument,
    *,
    good: Good = False,
    bad: Bad = False,
    score: Score = None,
    note: Note = None,
    as_json: Json = False,
) -> None:
    """Say how well the agent did in the end: that is the session's evidence."""
    value = chosen_score(good, bad, score)
    with connect() as atom:
        _print(Output.open(as_json), atom.call(atom.client.training.rate(training_id, value, note=note)))


@app.command(epilog=example('atom training dismiss 0199f1c2-... --note "not worth it"'))
def dismiss(training_id: TrainingArgument, *, note: Note = None, as_json: Json = False) -> None:
    """Take a session off the list, without a rating."""
    with connect() as atom:
        _print(Output.open(as_json), atom.call(atom.client.training.dismiss(training_id, note=note)))


def _watch(atom: BlockingAtom, out: Output, session: TrainingSession, *, no_wait: bool) -> None:
    if no_wait or session.run_id is None:
        _print(out, session)
        return
    exit_like(follow_run(atom, out, session.run_id))


def _print(out: Output, session: TrainingSession) -> None:
    if out.as_json:
        out.json(session.plain())
        return
    out.fields(
        [
            ("training", session.id),
            ("agent", session.agent),
            ("status", session.status),
            ("from", f"{session.origin}, {session.proposed_by}"),
            ("run", session.run_id),
            ("score", "" if session.score is None else f"{session.score:g}"),
            ("opened by", session.opened_by),
            ("closed by", session.closed_by),
            ("note", one_line(session.note, 2000) if session.note else None),
            ("proposed", moment(session.created_at)),
            ("opened", moment(session.opened_at) if session.opened_at else None),
            ("closed", moment(session.closed_at) if session.closed_at else None),
            ("task", session.task),
        ]
    )
