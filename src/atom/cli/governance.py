"""`atom governance`: actions, policies, named grants, explanations."""

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from atom.cli.options import After, AgentArgument, Json, Limit, example
from atom.cli.output import Output, moment
from atom.cli.target import connect
from atom.client.governance import AppliedPolicy, Explanation
from atom.client.models import Page
from atom.errors import InvalidError

MAX_BYTES = 64 * 1024
STYLES = {"allow": "bold green", "ask": "bold yellow", "deny": "bold red"}
app = typer.Typer()
ActionArgument = Annotated[str, typer.Argument(metavar="ACTION", help="The exact name of an action.")]
PolicyArgument = Annotated[str, typer.Argument(metavar="POLICY", help="Name of a policy.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the grant and in the audit.")]


class StartedBy(StrEnum):
    MANUAL = "manual"
    SCHEDULE = "schedule"
    WEBHOOK = "webhook"
    EVENT = "event"
    AGENT = "agent"


@app.command(epilog=example("atom governance actions"))
def actions(*, limit: Limit = 200, after: After = None, as_json: Json = False) -> None:
    """List every registered action; what is not here is denied."""
    with connect() as atom:
        page = atom.call(atom.client.governance.actions(limit, after=after))
    rows = ((one.name, one.risk, one.effect, _yes(one.egress), ",".join(one.reads)) for one in page.items)
    _table(Output.open(as_json), page, ("action", "risk", "effect", "egress", "reads"), rows)


@app.command(epilog=example("""atom governance explain guide delete_file --args '{"path": "a.txt"}'"""))
def explain(
    agent: AgentArgument,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Any name, also of no action.")],
    *,
    args: Annotated[str, typer.Option("--args", metavar="JSON", help="The arguments of the call.")] = "{}",
    trigger: Annotated[StartedBy, typer.Option("--trigger", help="What starts the run.")] = StartedBy.MANUAL,
    as_json: Json = False,
) -> None:
    """Print what would be decided, why, and every rule that has a say. Nothing is done and nothing recorded."""
    arguments = _arguments(args)
    with connect() as atom:
        found = atom.call(atom.client.governance.explain(agent, action, arguments=arguments, trigger=trigger.value))
    out = Output.open(as_json)
    if as_json:
        out.json(found.plain())
        return
    _print_explanation(out, found)


@app.command(epilog=example("atom governance apply -f policy.yaml --dry-run"))
def apply(
    *,
    file: Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="A YAML document; - for standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and compare it; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Put a policy in force on every replica. Every change is a version that can be gone back to."""
    source = _read(file)
    with connect() as atom:
        found = atom.call(atom.client.governance.apply(source, dry_run=dry_run))
    _print_applied(Output.open(as_json), found, dry_run=dry_run)


@app.command(epilog=example("atom governance policies"))
def policies(*, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List the policies in force."""
    with connect() as atom:
        page = atom.call(atom.client.governance.policies(limit, after=after))
    rows = (
        (one.name, one.version, len((one.document or {}).get("rules", ())), one.applied_by, moment(one.applied_at))
        for one in page.items
    )
    _table(Output.open(as_json), page, ("policy", "version", "rules", "applied by", "applied"), rows)


@app.command(epilog=example("atom governance show production --diff 2"))
def show(
    policy: PolicyArgument,
    *,
    version: Annotated[int | None, typer.Option("--version", metavar="N", min=1, help="Not the one in force.")] = None,
    diff: Annotated[int | None, typer.Option("--diff", metavar="N", min=1, help="What changed since N.")] = None,
    versions: Annotated[bool, typer.Option("--versions", help="List its versions, with who and when.")] = False,
    as_json: Json = False,
) -> None:
    """Print a policy as it was applied, its versions, or what changed between two of them."""
    out = Output.open(as_json)
    with connect() as atom:
        governance = atom.client.governance
        if versions:
            page = atom.call(governance.policy_versions(policy, 200))
            rows = (
                (one.version, "removed" if one.removed else "applied", one.applied_by, moment(one.applied_at))
                for one in page.items
            )
            _table(out, page, ("version", "what", "by", "at"), rows)
            return
        if diff is not None:
            compared = atom.call(governance.policy_diff(policy, diff, version=version))
            shown, text = compared.plain(), compared.diff or "No difference."
        else:
            found = atom.call(governance.policy(policy, version=version))
            shown, text = found.plain(), (found.source or "(removed)").rstrip("\n")
    if as_json:
        out.json(shown)
    else:
        out.line(text)


@app.command(epilog=example("atom governance rollback production --to 2"))
def rollback(
    policy: PolicyArgument,
    *,
    to: Annotated[int, typer.Option("--to", metavar="N", min=1, help="The version to apply anew.")],
    as_json: Json = False,
) -> None:
    """Apply an older version of a policy anew, as a new version."""
    with connect() as atom:
        found = atom.call(atom.client.governance.roll_back(policy, to))
    _print_applied(Output.open(as_json), found, dry_run=False)


@app.command(epilog=example("atom governance remove production"))
def remove(policy: PolicyArgument, as_json: Json = False) -> None:
    """Take a policy out of force. Its versions stay, and can be gone back to."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.governance.remove_policy(policy))
    if as_json:
        out.json(found.plain())
    else:
        out.line(f"{found.name} is out of force (version {found.version}).")


@app.command(epilog=example('atom governance grant cleaner delete_file --reason "nightly clean-up" --expires-days 30'))
def grant(
    agent: AgentArgument,
    action: ActionArgument,
    *,
    reason: Reason,
    expires_days: Annotated[
        int | None, typer.Option("--expires-days", metavar="N", min=1, max=3650, help="Else until it is taken back.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let an agent do a critical or irreversible action without asking, while it is autonomous."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.governance.grant(agent, action, reason, expires_in_days=expires_days))
    if as_json:
        out.json(found.plain())
        return
    out.line(f"{found.agent} may do {found.action} alone while it is autonomous, until {_until(found.expires_at)}.")


@app.command(epilog=example("atom governance ungrant cleaner delete_file"))
def ungrant(agent: AgentArgument, action: ActionArgument, as_json: Json = False) -> None:
    """Take a grant back: the action asks again, with the next decision on every replica."""
    out = Output.open(as_json)
    with connect() as atom:
        atom.call(atom.client.governance.ungrant(agent, action))
    if as_json:
        out.json({"agent": agent, "action": action, "granted": False})
    else:
        out.line(f"{action} asks again.")


@app.command(epilog=example("atom governance grants --agent cleaner --ended"))
def grants(
    *,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent's.")] = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that expired or were taken back.")] = False,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List named grants, the newest first."""
    with connect() as atom:
        page = atom.call(atom.client.governance.grants(limit, after=after, agent=agent, ended=ended))
    rows = (
        (
            one.agent,
            one.action,
            f"taken back {moment(one.revoked_at)}" if one.revoked_at else _until(one.expires_at),
            one.granted_by,
            one.reason,
        )
        for one in page.items
    )
    _table(Output.open(as_json), page, ("agent", "action", "until", "granted by", "reason"), rows)


def _table(out: Output, page: Page[Any], columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    if out.as_json:
        out.json(page.plain())
        return
    out.table(columns, rows)
    if page.next:
        out.note(f"More: --after {page.next}")


def _print_applied(out: Output, found: AppliedPolicy, *, dry_run: bool) -> None:
    for warning in found.warnings:
        out.note(f"warning: {warning}", "yellow")
    if out.as_json:
        out.json(found.plain())
        return
    if found.diff:
        out.line(found.diff)
    if not found.changed:
        out.line(f"{found.name} version {found.version} is in force already: nothing changed.")
    elif dry_run:
        out.line(f"{found.name} would be version {found.version}, {found.rules} rules. Nothing was changed.")
    else:
        out.line(f"{found.name} version {found.version} is in force, {found.rules} rules.")


def _print_explanation(out: Output, found: Explanation) -> None:
    out.line(f"{found.decision}: {found.reason}", STYLES.get(found.decision, ""))
    out.line(found.explanation)
    shown = found.action
    declared = f"risk {shown.risk}, {shown.effect}{', egress' if shown.egress else ''}" if shown else "not registered"
    fields: list[tuple[str, object]] = [
        ("agent", f"{found.agent} version {found.agent_version}, {found.maturity}"),
        ("action", declared),
        ("trigger", found.trigger),
        ("table", f"{found.table}: {found.table_reason}"),
    ]
    if found.decision == "ask" and found.eyes != "any":
        fields.append(("approved by", {"other": "another person", "two": "two people"}.get(found.eyes, found.eyes)))
    if found.halted is not None:
        fields.append(("halted", found.halted))
    out.fields(fields)
    for one in found.rules:
        risk = f", risk {one.risk}" if one.risk is not None else ""
        out.line(f"rule {one.rule}: {one.verdict}{risk}{': ' if one.detail else ''}{one.detail}")


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidError(f"--args: {error.msg} at column {error.colno}.", hint="Give one JSON object.") from error
    if not isinstance(value, dict):
        raise InvalidError("--args: this is not a JSON object.", hint="""For example: --args '{"path": "a.txt"}'""")
    return value


def _read(file: str) -> str:
    try:
        content = sys.stdin.buffer.read(MAX_BYTES + 1) if file == "-" else Path(file).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidError(f"--file: {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidError(f"--file: {file} is not UTF-8.", hint="Convert it, for example with iconv.") from error


def _yes(flag: bool) -> str:
    return "yes" if flag else "-"


def _until(at: Any) -> str:
    return moment(at) if at else "it is taken back"
