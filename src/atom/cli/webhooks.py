"""`atom webhooks`: where approvals are told, and whether that arrived."""

import sys
import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from atom.cli.failures import NO
from atom.cli.options import After, Json, Limit, example
from atom.cli.output import Output, moment, one_line
from atom.cli.target import connect
from atom.client import BlockingAtom
from atom.client.approvals import Delivery, Webhook
from atom.errors import InvalidError

app = typer.Typer()
WebhookArgument = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Name or id of the webhook.")]
MAX_SECRET = 1000
TEST_SECONDS = 30.0
LOOK_SECONDS = 0.5


class Told(StrEnum):
    REQUESTED = "approval.requested"
    DECIDED = "approval.decided"
    EXPIRED = "approval.expired"


class Which(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@app.command(epilog=example("atom webhooks add chat https://chat.example.com/atom --type approval.requested"))
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you call it.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages go, with POST.")],
    *,
    types: Annotated[
        list[Told] | None, typer.Option("--type", help="What to tell; may be given more than once. None: all.")
    ] = None,
    own_secret: Annotated[
        bool, typer.Option("--own-secret", help="Read the signing secret (whsec_...) from standard input.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell another system. The signing secret is shown now, and never again."""
    out = Output.open(as_json)
    fields: dict[str, Any] = {"types": [one.value for one in types]} if types else {}
    if own_secret:
        fields["secret"] = _read_secret()
    with connect() as atom:
        made = atom.call(atom.client.webhooks.add(name, url, **fields))
    if as_json:
        out.json(made.plain())
        return
    _print_webhook(out, made)
    out.line(f"secret: {made.secret}", "bold")
    out.note("Keep it: messages are signed with it, and it is not shown again.")


@app.command("list", epilog=example("atom webhooks list"))
def list_webhooks(*, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List where messages go."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.webhooks.list().page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    out.table(("name", "status", "url", "types"), ((w.name, w.status, w.url, ",".join(w.types)) for w in page.items))
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom webhooks show chat"))
def show(webhook: WebhookArgument, as_json: Json = False) -> None:
    """Show a webhook."""
    with connect() as atom:
        _print_webhook(Output.open(as_json), atom.call(atom.client.webhooks.get(webhook)))


@app.command("test", epilog=example("atom webhooks test chat"))
def probe(webhook: WebhookArgument, as_json: Json = False) -> None:
    """Send a message that says nothing, and wait for its receipt. Exits 1 when it does not arrive."""
    out = Output.open(as_json)
    with connect() as atom:
        sent = atom.call(atom.client.webhooks.test(webhook))
        found = _receipt(atom, webhook, sent.delivery_id)
    if as_json:
        out.json(found.plain() if found else {"id": sent.delivery_id, "status": "pending"})
    elif found is None:
        out.line("Nothing has sent it yet: is a worker running?", "red")
    elif found.status == Which.DELIVERED:
        out.line(f"It arrived: the receiver answered {found.response_code}.")
    else:
        out.line(f"It did not arrive: {one_line(found.last_error)}", "red")
    if found is None or found.status != Which.DELIVERED:
        raise typer.Exit(NO)


@app.command(epilog=example("atom webhooks deliveries chat --status failed"))
def deliveries(
    webhook: WebhookArgument,
    *,
    status: Annotated[Which | None, typer.Option("--status", help="Only those in this state.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List what was sent, and how that went, the newest first."""
    out = Output.open(as_json)
    with connect() as atom:
        listing = atom.client.webhooks.deliveries(webhook, status=status and status.value)
        page = atom.call(listing.page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    columns = ("id", "type", "status", "attempts", "at", "again", "answer", "last error")
    out.table(
        columns,
        (
            (d.id, d.type, d.status, d.attempts, moment(d.created_at), moment(d.next_at), d.response_code or "-",
             one_line(d.last_error, 80) if d.last_error else "-")
            for d in page.items
        ),
    )  # fmt: skip
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom webhooks remove chat --yes"))
def remove(
    webhook: WebhookArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Send nothing there any more. What has not arrived yet is given up."""
    if not yes:
        typer.confirm(f"Remove the webhook {webhook}?", abort=True)
    out = Output.open(as_json)
    with connect() as atom:
        atom.call(atom.client.webhooks.remove(webhook))
    out.json({"removed": webhook}) if as_json else out.line(f"{webhook} is removed.")


def _receipt(atom: BlockingAtom, webhook: str, delivery_id: str) -> Delivery | None:
    """After the first try, or as it is when that takes too long."""
    for _ in range(int(TEST_SECONDS / LOOK_SECONDS)):
        page = atom.call(atom.client.webhooks.deliveries(webhook).page(50))
        found = next((one for one in page.items if one.id == delivery_id), None)
        if found is not None and (found.response_code is not None or found.last_error is not None):
            return found
        time.sleep(LOOK_SECONDS)
    return None


def _read_secret() -> str:
    secret = sys.stdin.read(MAX_SECRET + 1).strip()
    if not secret or len(secret) > MAX_SECRET:
        raise InvalidError(
            "Standard input holds no secret.", hint="atom webhooks add chat URL --own-secret < secret.txt"
        )
    return secret


def _print_webhook(out: Output, one: Webhook) -> None:
    if out.as_json:
        out.json(one.plain())
        return
    out.fields(
        [
            ("webhook", one.name),
            ("id", one.id),
            ("status", one.status),
            ("reason", one.reason),
            ("url", one.url),
            ("types", ", ".join(one.types)),
            ("added", moment(one.created_at)),
        ]
    )
