"""`atom approvals`."""

import itertools
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from atom.cli.failures import NO
from atom.cli.options import After, Json, Limit, example
from atom.cli.output import Output, moment, one_line, to_json
from atom.cli.target import connect
from atom.client import BlockingAtom
from atom.client.approvals import BatchResult, Delegation
from atom.client.listing import Listing
from atom.client.models import Approval, Page
from atom.errors import InvalidError, NotFoundError
from atom.settings import editor_command

app = typer.Typer()
ApprovalArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the approval.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why; kept with the decision.")]
COLUMNS = ("id", "agent", "action", "status", "requested", "expires", "assigned to", "arguments")
WATCH_SECONDS = 2.0
BATCH = 100  # the most that the server takes at once
MAX_ARGUMENTS = 2_000_000
FILE_HINT = "Give a JSON file, or - for standard input."


class Which(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    USED = "used"
    ALL = "all"


@app.command("list", epilog=example("atom approvals list --mine --watch"))
def list_approvals(
    *,
    status: Annotated[Which, typer.Option("--status", help="Only those in this state.")] = Which.PENDING,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only of this agent.")] = None,
    action: Annotated[str | None, typer.Option("--action", metavar="NAME", help="Only for this action.")] = None,
    requested_by: Annotated[
        str | None, typer.Option("--requested-by", metavar="ACTOR", help="Only of runs that this actor asked for.")
    ] = None,
    assignee: Annotated[
        str | None, typer.Option("--assignee", metavar="NAME", help="Only those assigned to this person or role:NAME.")
    ] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only open ones that you may decide now.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on: print new ones as they come, until Ctrl-C.")] = False,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List questions that wait for a person, the newest first."""
    out = Output.open(as_json)
    wanted = None if status is Which.ALL else status.value
    filters = {"agent": agent, "action": action, "requested_by": requested_by, "assignee": assignee}
    with connect() as atom:
        listing = atom.client.approvals.list(status=wanted, **filters, mine=mine or None)
        page = atom.call(listing.page(limit, after=after))
        if watch:
            watch_approvals(atom, out, listing, page)
            return
    if as_json:
        out.json(page.plain())
        return
    out.table(COLUMNS, (_row(one) for one in page.items))
    if page.next:
        out.note(f"More: --after {page.next}")


def watch_approvals(
    atom: BlockingAtom, out: Output, listing: Listing[Approval], page: Page[Approval], *, looks: int | None = None
) -> None:
    """One line for each question, once. `looks`: how often to look; None: until somebody ends it."""
    shown: set[str] = set()
    for look in itertools.count(1):
        for one in reversed(page.items):
            if one.id not in shown:
                out.json(one.plain()) if out.as_json else out.line("  ".join(str(cell) for cell in _row(one)))
        shown = {one.id for one in page.items}
        if look == looks:
            return
        time.sleep(WATCH_SECONDS)
        page = atom.call(listing.page(200))


def _row(one: Approval) -> tuple[object, ...]:
    times = (moment(one.requested_at), moment(one.expires_at))
    return (one.id, one.agent, one.action, one.status, *times, one.assignee or "-", to_json(one.arguments))


@app.command(epilog=example("atom approvals summary"))
def summary(as_json: Json = False) -> None:
    """Count questions by their state, and those that you may decide now."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.approvals.summary())
    if as_json:
        out.json(found.plain())
        return
    out.fields([*found.counts.items(), ("yours to decide", found.mine)])


@app.command(epilog=example("atom approvals show 0199f1c2-..."))
def show(approval_id: ApprovalArgument, as_json: Json = False) -> None:
    """Show a question whole: what would be done, with which arguments, and why it is asked."""
    with connect() as atom:
        print_approval(Output.open(as_json), atom.call(atom.client.approvals.get(approval_id)))


@app.command(epilog=example('atom approvals approve 0199f1c2-... --edit --note "a smaller amount"'))
def approve(
    approval_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Id of the approval.")] = None,
    *,
    edit: Annotated[bool, typer.Option("--edit", help="Change the arguments first, in $EDITOR.")] = False,
    arguments: Annotated[
        str | None,
        typer.Option(
            "--arguments", metavar="FILE", help="Approve with these arguments: a JSON file, - standard input."
        ),
    ] = None,
    like: Annotated[
        str | None, typer.Option("--like", metavar="ID", help="Approve every open question about the same call as ID.")
    ] = None,
    note: Note = None,
    as_json: Json = False,
) -> None:
    """Allow exactly this call, once; or the same one with arguments that you change. The run goes on."""
    out = Output.open(as_json)
    ways = [approval_id is not None, like is not None].count(True)
    if ways != 1 or (edit and arguments is not None) or (like and (edit or arguments is not None)):
        raise InvalidError(
            "Give one approval (with --edit or --arguments, not both), or --like and another one's id.",
            hint="`atom approvals approve --help` has an example.",
        )
    with connect() as atom:
        if like is not None:
            _print_batch(out, approve_like(atom, like, note))
            return
        assert approval_id is not None
        changed, seen = None, None
        if edit:
            asked = atom.call(atom.client.approvals.get(approval_id))
            changed, seen = edited(asked.arguments), asked.digest
        elif arguments is not None:
            changed = read_arguments(arguments)
        given = atom.client.approvals.approve(approval_id, note=note, arguments=changed, digest=seen)
        print_approval(out, atom.call(given))


def approve_like(atom: BlockingAtom, like: str, note: str | None) -> BatchResult:
    """Every open approval of the same agent and the very same call."""
    one = atom.call(atom.client.approvals.get(like))
    listing = atom.client.approvals.list(status="pending", digest=one.digest, agent=one.agent)
    same = [found.id for found in atom.each(listing.every(BATCH))]
    if not same:
        raise NotFoundError(
            "No open question is about the same call.", hint="`atom approvals list` shows the open ones."
        )
    return atom.call(atom.client.approvals.approve_batch(one.digest, same, note=note))


def edited(arguments: Any) -> dict[str, Any]:
    """What a person makes of the arguments in their editor. Raises InvalidError when that is no JSON object."""
    before = to_json(arguments, indent=2) + "\n"
    editor = shlex.split(editor_command())
    with tempfile.TemporaryDirectory() as folder:  # nobody else may look into it
        file = Path(folder) / "arguments.json"
        file.write_text(before, encoding="utf-8")
        try:
            ended = subprocess.run([*editor, str(file)], check=False)  # noqa: S603 - the person's own editor
        except OSError as error:
            raise InvalidError(f"{editor[0]} cannot be started ({error.strerror}).", hint="Set EDITOR.") from None
        after = file.read_text(encoding="utf-8", errors="replace")
    if ended.returncode or after == before:
        raise InvalidError("Nothing was changed; the approval stays open.", hint="Without --edit it is as it was.")
    return _object(after, "The edited text")


def read_arguments(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read(MAX_ARGUMENTS + 1) if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidError(f"{file} cannot be read: {error.strerror}.", hint=FILE_HINT) from None
    except UnicodeDecodeError:
        raise InvalidError(f"{file} cannot be read: it is not UTF-8.", hint=FILE_HINT) from None
    return _object(text, "Standard input" if file == "-" else file)


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidError(f"{where} is not JSON: {error}.", hint="Nothing was sent.") from None
    if not isinstance(value, dict):
        raise InvalidError(f"{where} is not a JSON object.", hint="Nothing was sent.")
    return value


def _print_batch(out: Output, done: BatchResult) -> None:
    if out.as_json:
        out.json(done.plain())
    else:
        out.table(("id", "status", "why not"), ((one.id, one.status or "-", one.message or "-") for one in done.items))
    if any(one.code for one in done.items):
        raise typer.Exit(NO)


@app.command(epilog=example('atom approvals reject 0199f1c2-... --note "wrong folder"'))
def reject(approval_id: ApprovalArgument, *, note: Note = None, as_json: Json = False) -> None:
    """Refuse this call. The run goes on, and its agent is told."""
    with connect() as atom:
        print_approval(Output.open(as_json), atom.call(atom.client.approvals.reject(approval_id, note=note)))


@app.command(epilog=example('atom approvals delegate 0199f1c2-... bob --note "your customer"'))
def delegate(
    approval_id: ApprovalArgument,
    to: Annotated[str, typer.Argument(metavar="TO", help="Name of a person's key, or role:NAME.")],
    *,
    note: Note = None,
    as_json: Json = False,
) -> None:
    """Give a question to somebody: only they or an admin decide it then."""
    with connect() as atom:
        print_approval(Output.open(as_json), atom.call(atom.client.approvals.delegate(approval_id, to, note=note)))


@app.command("delegate-all", epilog=example("atom approvals delegate-all bob --until 2026-08-31"))
def delegate_all(
    to: Annotated[str, typer.Argument(metavar="TO", help="Name of a person's key.")],
    *,
    until: Annotated[datetime, typer.Option("--until", help="Until when: the beginning of a day, or a time (UTC).")],
    note: Note = None,
    as_json: Json = False,
) -> None:
    """Let somebody decide what is assigned to you, for a time."""
    end = until.replace(tzinfo=UTC).isoformat()
    with connect() as atom:
        _print_delegations(
            Output.open(as_json), [atom.call(atom.client.approvals.delegate_all(to, end, note=note))], None
        )


@app.command(epilog=example("atom approvals delegations"))
def delegations(*, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List who decides for whom, those that are over among them."""
    with connect() as atom:
        page = atom.call(atom.client.approvals.delegations().page(limit, after=after))
    _print_delegations(Output.open(as_json), page.items, page.next)


@app.command(epilog=example("atom approvals revoke 0199f1c2-..."))
def revoke(
    delegation_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the delegation.")], as_json: Json = False
) -> None:
    """Take a delegation back."""
    with connect() as atom:
        _print_delegations(
            Output.open(as_json), [atom.call(atom.client.approvals.revoke_delegation(delegation_id))], None
        )


def _print_delegations(out: Output, items: Sequence[Delegation], more: str | None) -> None:
    if out.as_json:
        out.json({"items": [one.plain() for one in items], "next": more})
        return
    rows = (
        (one.id, one.from_person, one.to_person, moment(one.until), one.revoked_by or "-", one_line(one.note, 80))
        for one in items
    )
    out.table(("id", "from", "to", "until", "revoked by", "note"), rows)
    if more:
        out.note(f"More: --after {more}")


def print_approval(out: Output, approval: Approval) -> None:
    if out.as_json:
        out.json(approval.plain())
        return
    decided = f"{approval.status} by {approval.decided_by}" if approval.decided_by else approval.status
    out.fields(
        [
            ("approval", approval.id),
            ("status", decided),
            ("run", approval.run_id),
            ("agent", f"{approval.agent} (version {approval.agent_version})"),
            ("action", approval.action),
            ("reason", approval.explanation),
            ("asked for by", approval.requested_by),
            ("eyes", None if approval.eyes == "any" else approval.eyes),
            ("yes by", ", ".join(yes.by for yes in approval.approvals) or None),
            ("assigned to", approval.assignee),
            ("edited by", approval.edited_by),
            ("requested", moment(approval.requested_at)),
            ("expires", moment(approval.expires_at)),
            ("note", one_line(approval.note, 2000) if approval.note else None),
        ]
    )
    out.line("arguments:", "bold")
    out.line(to_json(approval.arguments, indent=2))
    if approval.edited_from is not None:
        out.line("the agent had asked for:", "bold")
        out.line(to_json(approval.edited_from.arguments, indent=2))
