"""`atom token`."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from atom.cli.options import After, Json, Limit, example
from atom.cli.output import Output, moment
from atom.cli.target import connect
from atom.client.models import Token

app = typer.Typer()


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    AGENT = "agent"


@app.command(epilog=example("atom token create ci --role operator --expires-days 90"))
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    *,
    role: Annotated[Role, typer.Option("--role", help="What it may do.")],
    expires_days: Annotated[int | None, typer.Option("--expires-days", min=1, help="Days until it ends.")] = None,
    as_json: Json = False,
) -> None:
    """Create a token. It is printed this once; in a pipe, only it is on standard output."""
    out = Output.open(as_json)
    with connect() as atom:
        token = atom.call(atom.client.tokens.create(name, role, expires_in_days=expires_days))
    if as_json:
        out.json(token.plain())
        return
    ends = f", ends {moment(token.expires_at)}" if token.expires_at else ""
    out.note(f"Token {token.name} ({token.id}), {token.role}{ends}. Keep it now: it is not shown again.", "")
    out.line(token.token)


@app.command("list", epilog=example("atom token list"))
def list_tokens(*, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List tokens; never their secrets."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.tokens.list().page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    rows = (
        (
            token.id,
            token.name,
            token.role,
            _state(token),
            moment(token.expires_at),
            moment(token.created_at),
            moment(token.last_used_at),
        )
        for token in page.items
    )
    out.table(("id", "name", "role", "state", "expires", "created", "last used"), rows)
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom token revoke 0199f1c2-..."))
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the token.")], as_json: Json = False
) -> None:
    """Revoke a token: it is refused from now on."""
    out = Output.open(as_json)
    with connect() as atom:
        atom.call(atom.client.tokens.revoke(token_id))
    if as_json:
        out.json({"id": token_id, "revoked": True})
        return
    out.line(f"{token_id} revoked")


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= datetime.now(UTC) else "live"
