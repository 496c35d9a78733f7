"""`atom approvals`."""

from enum import StrEnum
from typing import Annotated

import typer

from atom.cli.options import After, Json, Limit, example
from atom.cli.output import Output, moment, one_line, to_json
from atom.cli.target import connect
from atom.client.models import Approval

app = typer.Typer()
ApprovalArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the approval.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why; kept with the decision.")]


class Which(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    USED = "used"
    ALL = "all"


@app.command("list", epilog=example("atom approvals list"))
def list_approvals(
    *,
    status: Annotated[Which, typer.Option("--status", help="Only those in this state.")] = Which.PENDING,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List questions that wait for a person, the newest first."""
    out = Output.open(as_json)
    wanted = None if status is Which.ALL else status.value
    with connect() as atom:
        page = atom.call(atom.client.approvals.list(status=wanted).page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    columns = ("id", "agent", "action", "status", "requested", "expires", "arguments")
    out.table(
        columns,
        (
            (a.id, a.agent, a.action, a.status, moment(a.requested_at), moment(a.expires_at), to_json(a.arguments))
            for a in page.items
        ),
    )
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom approvals show 0199f1c2-..."))
def show(approval_id: ApprovalArgument, as_json: Json = False) -> None:
    """Show a question whole: what would be done, with which arguments, and why it is asked."""
    with connect() as atom:
        print_approval(Output.open(as_json), atom.call(atom.client.approvals.get(approval_id)))


@app.command(epilog=example('atom approvals approve 0199f1c2-... --note "agreed with finance"'))
def approve(approval_id: ApprovalArgument, *, note: Note = None, as_json: Json = False) -> None:
    """Allow exactly this call, once. The run goes on."""
    with connect() as atom:
        print_approval(Output.open(as_json), atom.call(atom.client.approvals.approve(approval_id, note=note)))


@app.command(epilog=example('atom approvals reject 0199f1c2-... --note "wrong folder"'))
def reject(approval_id: ApprovalArgument, *, note: Note = None, as_json: Json = False) -> None:
    """Refuse this call. The run goes on, and its agent is told."""
    with connect() as atom:
        print_approval(Output.open(as_json), atom.call(atom.client.approvals.reject(approval_id, note=note)))


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
            ("requested", moment(approval.requested_at)),
            ("expires", moment(approval.expires_at)),
            ("note", one_line(approval.note, 2000) if approval.note else None),
        ]
    )
    out.line("arguments:", "bold")
    out.line(to_json(approval.arguments, indent=2))
