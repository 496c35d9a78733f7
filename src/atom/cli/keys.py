"""`atom keys`: provider keys, the order in which they are used, what they may cost, and what they did."""

import re
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from atom.cli.failures import NO
from atom.cli.job import watch_job
from atom.cli.options import After, Json, Limit, example
from atom.cli.output import Output, dollars, moment, one_line
from atom.cli.target import connect
from atom.client import BlockingAtom
from atom.client.keys import Budget, ProviderKey, RouteList, UsageGroup
from atom.client.listing import PAGE
from atom.errors import InvalidError, NotFoundError

app = typer.Typer()
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Name or id of the key.")]
Owner = Annotated[str | None, typer.Option("--owner", metavar="NAME", help="Only runs of this name may use it.")]
Order = Annotated[int | None, typer.Option("--priority", min=0, max=1000, help="Lower is tried first (default 100).")]
Models = Annotated[
    str | None, typer.Option("--models", metavar="A,B", help="Names or patterns (gpt-*) it may be used for.")
]
MAX_SECRET = 10_000
ZERO = re.compile(r"0+(\.0*)?")
MISPLACED = (
    "It is read from standard input: atom keys add openai team-a < key.txt. If that was a key, this shell's history and"
    " the list of processes had it: have the provider replace it."
)


class ReadsKey(TyperCommand):
    """A command that reads a key. An argument too many is most likely one, of whatever form: it is not said again."""

    allow_extra_args = True

    def invoke(self, ctx: Any) -> Any:
        if ctx.args:
            raise InvalidError("A key is not given as an argument: nothing was done.", hint=MISPLACED)
        return super().invoke(ctx)


class KeyProvider(StrEnum):
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    AZURE = "azure"
    BEDROCK = "bedrock"
    COMPATIBLE = "compatible"


ROUTED = (*KeyProvider, "local", "scripted")


class Unit(StrEnum):
    TOKENS = "tokens"
    USD = "usd"


class Window(StrEnum):
    RUN = "run"
    DAY = "day"
    MONTH = "month"


class By(StrEnum):
    DAY = "day"
    AGENT = "agent"
    MODEL = "model"
    KEY = "key"


@app.command(cls=ReadsKey, epilog=example("atom keys add openai team-a --models 'gpt-5*' < key.txt"))
def add(
    provider: Annotated[KeyProvider, typer.Argument(help="Whose key it is; compatible: any OpenAI-compatible URL.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you call it.")],
    *,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Address of the endpoint or resource.")
    ] = None,
    owner: Owner = None,
    priority: Order = None,
    models: Models = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="api_version (azure), region (bedrock).")
    ] = None,
    monthly_usd: Annotated[
        str | None, typer.Option("--monthly-usd", metavar="AMOUNT", help="Most dollars a month through this key.")
    ] = None,
    no_secret: Annotated[bool, typer.Option("--no-secret", help="The endpoint asks for no key.")] = False,
    as_json: Json = False,
) -> None:
    """Store a key, sealed. It is read from standard input, or asked for: never given as an argument."""
    fields = _fields(owner, priority, models) | ({"base_url": url} if url else {})
    if option:
        fields["options"] = dict(_pair(one) for one in option)
    if monthly_usd is not None:
        fields["monthly_usd"] = monthly_usd
    secret = "none" if no_secret else _read_secret(f"atom keys add {provider.value} {name} < key.txt")
    with connect() as atom:
        key = atom.call(atom.client.keys.add(provider.value, name, secret, **fields))
    _print_key(Output.open(as_json), key)


@app.command("list", epilog=example("atom keys list"))
def list_keys(*, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List the stored keys: a fingerprint and the last use, never a part of a key."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.keys.page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    columns = ("name", "provider", "status", "priority", "models", "owner", "fingerprint", "last used")
    rows = (
        (
            key.name, key.provider, key.status, key.priority, ",".join(key.models) or "all", key.owner or "-",
            key.fingerprint, moment(key.last_used_at),
        )
        for key in page.items
    )  # fmt: skip
    out.table(columns, rows)
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom keys show team-a"))
def show(key: KeyArgument, as_json: Json = False) -> None:
    """Show what is known of a key."""
    with connect() as atom:
        _print_key(Output.open(as_json), atom.call(atom.client.keys.get(key)))


@app.command("test", epilog=example("atom keys test team-a"))
def probe(key: KeyArgument, as_json: Json = False) -> None:
    """Ask the provider for its models with this key: it costs nothing. Exits 1 when the key does not work."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.keys.test(key))
    if as_json:
        out.json(found.plain())
    elif found.ok:
        out.line(f"The key works ({found.seconds:.2f} s, {len(found.models)} models).")
        out.note(", ".join(found.models[:20]))
    else:
        out.line(f"The key does not work: {one_line(found.message)}", "red")
        out.note(f"code: {found.code}")
    if not found.ok:
        raise typer.Exit(NO)


@app.command(cls=ReadsKey, epilog=example("atom keys update team-a --priority 10"))
def update(
    key: KeyArgument,
    *,
    owner: Owner = None,
    priority: Order = None,
    models: Models = None,
    new_secret: Annotated[
        bool, typer.Option("--new-secret", help="Read a new secret from standard input, in place of the present one.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Change a key. What is not named stays; its address never changes."""
    fields = _fields(owner, priority, models)
    if new_secret:
        fields["secret"] = _read_secret(f"atom keys update {key} --new-secret < key.txt")
    if not fields:
        raise InvalidError("Nothing to change is given.", hint="`atom keys update --help` lists what can be.")
    with connect() as atom:
        _print_key(Output.open(as_json), atom.call(atom.client.keys.update(key, **fields)))


@app.command(epilog=example("atom keys disable team-a"))
def disable(key: KeyArgument, as_json: Json = False) -> None:
    """Stop using a key, everywhere, within a second."""
    with connect() as atom:
        _print_key(Output.open(as_json), atom.call(atom.client.keys.update(key, enabled=False)))


@app.command(epilog=example("atom keys enable team-a"))
def enable(key: KeyArgument, as_json: Json = False) -> None:
    """Use a key again."""
    with connect() as atom:
        _print_key(Output.open(as_json), atom.call(atom.client.keys.update(key, enabled=True)))


@app.command(epilog=example("atom keys remove team-a --yes"))
def remove(
    key: KeyArgument, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Remove a key; its secret is gone. What it was used for stays in the ledger."""
    if not yes:
        typer.confirm(f"Remove the key {key}? Its secret cannot be brought back.", abort=True)
    with connect() as atom:
        atom.call(atom.client.keys.remove(key))
    out = Output.open(as_json)
    if as_json:
        out.json({"removed": key})
        return
    out.line(f"{key} is removed.")


@app.command(epilog=example("atom keys rotate"))
def rotate(as_json: Json = False) -> None:
    """Wrap every stored key anew with the vault's current key. Nothing has to stop; it resumes after a crash."""
    out = Output.open(as_json)
    with connect() as atom:
        watch_job(atom, out, atom.call(atom.client.keys.rotate()).job_id)


@app.command(epilog=example("atom keys routes openai/gpt-5.4@team-a anthropic local"))
def routes(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROVIDER[/MODEL][@KEY]]...", help="The whole list, first to last. None: show it."),
    ] = None,
    *,
    clear: Annotated[bool, typer.Option("--clear", help="No list: the order follows from the keys.")] = False,
    as_json: Json = False,
) -> None:
    """Show or set the order in which providers are asked. It is in force within a second, without a restart."""
    if wanted and clear:
        raise InvalidError("Routes and --clear: give one of them.", hint="Neither shows the list.")
    wishes = [_route(text) for text in wanted or []]
    out = Output.open(as_json)
    with connect() as atom:
        if wishes or clear:
            found = atom.call(atom.client.keys.set_routes(wishes))
        else:
            found = atom.call(atom.client.keys.routes())
    _print_routes(out, found)


@app.command("models", epilog=example("atom keys models anthropic/claude-sonnet-4-5"))
def show_models(
    model: Annotated[
        str | None, typer.Argument(metavar="[PROVIDER/MODEL]", help="Any model. None: all that are in use.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is known of models: context, abilities, and dollars for a million tokens. `?`: nobody knows."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.keys.models(model))
    if as_json:
        out.json(found.plain())
        return
    columns = ("model", "context", "tools", "vision", "usd in", "usd out", "usd cached")
    out.table(
        columns,
        (
            (f"{one.provider}/{one.model}", _known(one.context_tokens), _able(one.tools), _able(one.vision),
             _known(one.input_usd), _known(one.output_usd), _known(one.cached_usd))
            for one in found.items
        ),
    )  # fmt: skip


@app.command(epilog=example("atom keys budgets"))
def budgets(*, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List the limits, and what is used of them."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.keys.budgets(limit, after=after))
    if as_json:
        out.json(found.plain())
        return
    columns = ("id", "scope", "of", "limit", "a", "used", "reserved")
    out.table(columns, (_budget_row(one) for one in found.items))
    if found.next:
        out.note(f"More: --after {found.next}")


@app.command(epilog=example("atom keys budget 20 --unit usd --window day"))
def budget(
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="Most tokens or dollars; 0 takes the limit away.")],
    *,
    unit: Annotated[Unit, typer.Option("--unit", help="What is counted.")] = Unit.USD,
    window: Annotated[Window, typer.Option("--window", help="Of each run, a day or a month (UTC).")] = Window.MONTH,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="For this agent only.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Through this key only.")] = None,
    as_json: Json = False,
) -> None:
    """Set, change or take away a limit. Runs that wait for a budget try again."""
    if agent and key:
        raise InvalidError("--agent and --key: give one of them.", hint="Neither: the limit is the deployment's.")
    out = Output.open(as_json)
    with connect() as atom:
        fields = _subject(atom, agent, key) | {"unit": unit.value, "window": window.value}
        if ZERO.fullmatch(amount.strip()):
            atom.call(atom.client.keys.remove_budget(_find(atom, fields).id))
            out.json({"removed": True}) if as_json else out.line("The limit is taken away.")
            return
        found = atom.call(atom.client.keys.put_budget(**fields, amount=amount))
    if as_json:
        out.json(found.plain())
        return
    whose = f"{found.scope} {found.subject_name or ''}".strip()
    out.line(f"At most {_amount(found, found.amount)} a {found.window}, {whose}.")


@app.command(epilog=example("atom keys usage --by model --days 7"))
def usage(
    *,
    by: Annotated[By, typer.Option("--by", help="What is added up.")] = By.MODEL,
    days: Annotated[int, typer.Option("--days", min=1, max=3660, help="Of the last days.")] = 30,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show what was asked of models, and what it cost as far as prices are known."""
    out = Output.open(as_json)
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    with connect() as atom:
        found = atom.call(atom.client.keys.usage(by.value, since=since, limit=limit))
    if as_json:
        out.json(found.plain())
        return
    named = ("name",) if by in {By.AGENT, By.KEY} else ()
    columns = (by.value, *named, "calls", "failed", "cached", "tokens in", "tokens out", "usd", "unpriced", "seconds")
    out.table(columns, ((one.group or "-", *(one.name or "-" for _ in named), *_sums(one)) for one in found.items))
    if found.more:
        out.note("There is more than is shown: --limit raises it.")


def _fields(owner: str | None, priority: int | None, models: str | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if owner is not None:
        fields["owner"] = owner
    if priority is not None:
        fields["priority"] = priority
    if models is not None:
        fields["models"] = [name.strip() for name in models.split(",") if name.strip()]
    return fields


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidError(f"--option {text!r} is not NAME=VALUE.", hint="Such as --option region=eu-central-1.")
    return name.strip(), value.strip()


def _read_secret(like: str) -> str:
    """`like` is how the command is given its key. Nothing of what was read is ever quoted."""
    if sys.stdin.isatty():
        return str(typer.prompt("Key", hide_input=True, err=True)).strip()
    data = sys.stdin.buffer.read(MAX_SECRET + 1)
    if len(data) > MAX_SECRET:
        raise InvalidError(f"Standard input is longer than {MAX_SECRET} bytes: that is no key.", hint=like)
    try:
        secret = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InvalidError("Standard input is not UTF-8: that is no key.", hint=like) from None
    if not secret:
        raise InvalidError("Standard input holds no key.", hint=like)
    return secret


def _route(text: str) -> dict[str, Any]:
    place, _, key = text.partition("@")
    provider, _, model = place.partition("/")
    if provider not in ROUTED:
        raise InvalidError(
            f"Route {text[:80]!r}: {provider[:80]!r} is not a provider.",
            hint=f"Write PROVIDER[/MODEL][@KEY], with one of: {', '.join(ROUTED)}.",
        )
    return {"provider": provider, "model": model or None, "key": key or None}


def _subject(atom: BlockingAtom, agent: str | None, key: str | None) -> dict[str, Any]:
    if agent:
        return {"scope": "agent", "subject": atom.call(atom.client.agents.get(agent)).id}
    if key:
        return {"scope": "key", "subject": atom.call(atom.client.keys.get(key)).id}
    return {"scope": "deployment", "subject": None}


def _find(atom: BlockingAtom, fields: dict[str, Any]) -> Budget:
    page = atom.call(atom.client.keys.budgets(PAGE))
    while True:
        for one in page.items:
            if all(getattr(one, name) == value for name, value in fields.items()):
                return one
        if not page.next:
            break
        page = atom.call(atom.client.keys.budgets(PAGE, after=page.next))
    raise NotFoundError("There is no such limit.", hint="`atom keys budgets` lists them.")


def _amount(one: Budget, amount: str | None) -> str:
    if amount is None:
        return "-"
    return dollars(amount) if one.unit == Unit.USD else f"{Decimal(amount).normalize():,f} tokens"


def _budget_row(one: Budget) -> tuple[object, ...]:
    whose = one.subject_name or one.subject or "-"
    amounts = (_amount(one, one.used), _amount(one, one.reserved))
    return (one.id, one.scope, whose, _amount(one, one.amount), one.window, *amounts)


def _sums(one: UsageGroup) -> tuple[object, ...]:
    tokens = (_known(one.input_tokens), _known(one.output_tokens))
    seconds = "-" if one.seconds is None else f"{one.seconds:.2f}"
    usd = _known(None if one.cost_usd is None else dollars(one.cost_usd).removeprefix("$"))
    return (one.calls, one.failed, one.cache_hits, *tokens, usd, one.unpriced, seconds)


def _known(value: object) -> object:
    return "?" if value is None else value


def _able(value: bool | None) -> str:
    return "?" if value is None else "yes" if value else "no"


def _print_routes(out: Output, found: RouteList) -> None:
    if out.as_json:
        out.json(found.plain())
        return
    if not found.routes:
        out.line("No list is set: the order follows from LLM_PROVIDER and the keys.")
    for number, route in enumerate(found.routes, 1):
        key = f" with {route.key}" if route.key else ""
        out.line(f"{number}. {route.provider}/{route.model or 'its default'}{key}")


def _print_key(out: Output, key: ProviderKey) -> None:
    if out.as_json:
        out.json(key.plain())
        return
    out.fields(
        [
            ("key", key.name),
            ("id", key.id),
            ("provider", key.provider),
            ("status", key.status),
            ("reason", key.reason),
            ("priority", key.priority),
            ("models", ",".join(key.models) or "all"),
            ("owner", key.owner),
            ("address", key.base_url),
            ("fingerprint", key.fingerprint),
            ("added", moment(key.created_at)),
            ("last used", moment(key.last_used_at)),
        ]
    )
