"""`atom triggers`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from atom.cli.options import After, AgentArgument, Json, Limit, example
from atom.cli.output import Output, moment, one_line, to_json
from atom.cli.target import connect
from atom.client.triggers import Firing, Proposal, Trigger
from atom.errors import InvalidError

app = typer.Typer()
TriggerArgument = Annotated[str, typer.Argument(metavar="TRIGGER", help="Name or id of the trigger.")]
ProposalArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the proposal.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why; kept with the decision.")]
When = Annotated[
    str | None,
    typer.Option("--when", metavar="SCHEDULE", help='Five fields of cron, "0 9 * * MON-FRI", or "every 10m".'),
]
Zone = Annotated[str | None, typer.Option("--timezone", metavar="ZONE", help="Of a cron schedule: Europe/Berlin.")]
Jitter = Annotated[int | None, typer.Option("--jitter", metavar="SECONDS", help="Delay each firing by up to this.")]
Types = Annotated[list[str] | None, typer.Option("--event", metavar="TYPE", help="An event that fires it; repeatable.")]
Of = Annotated[
    str | None, typer.Option("--of", metavar="AGENT", help="Only events of this agent; alone: each answer of it.")
]
Where = Annotated[
    list[str] | None, typer.Option("--where", metavar="NAME=VALUE", help="Only with this in the event's data.")
]


class ProposalState(StrEnum):
    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    DISMISSED = "dismissed"
    ALL = "all"


@app.command(epilog=example('atom triggers add morning guide "Sum up the night." --when "0 9 * * *"'))
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    agent: AgentArgument,
    task: Annotated[str, typer.Argument(metavar="TASK", help="What the agent is to do each time.")],
    *,
    when: When = None,
    timezone: Zone = None,
    webhook: Annotated[bool, typer.Option("--webhook", help="Fire with each signed delivery.")] = False,
    event: Types = None,
    of: Of = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Add a trigger: a schedule, a webhook, an event, or another agent's answer."""
    given = {"schedule": when is not None, "webhook": webhook, "event": bool(event), "agent": bool(of and not event)}
    kinds = [kind for kind, chosen in given.items() if chosen]
    if len(kinds) != 1:
        raise InvalidError("Give one of --when, --webhook, --event, and --of alone.")
    fields: dict[str, Any] = {"types": event, "agent": of, "where": _where(where)}
    definition = _schedule(when, timezone, None) | {name: value for name, value in fields.items() if value}
    with connect() as atom:
        made = atom.call(atom.client.triggers.add(name, agent, kinds[0], task, definition))
    _print_trigger(Output.open(as_json), made)


@app.command("list", epilog=example("atom triggers list --agent guide"))
def list_triggers(
    *,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent's.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List triggers, the newest first."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.triggers.page(limit, agent=agent, after=after))
    if as_json:
        out.json(page.plain())
        return
    columns = ("name", "agent", "kind", "state", "next", "last", "definition")
    out.table(
        columns,
        (
            (t.name, t.agent, t.kind, _state(t), moment(t.next_at), moment(t.last_at), to_json(t.definition))
            for t in page.items
        ),
    )
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom triggers show morning"))
def show(trigger: TriggerArgument, as_json: Json = False) -> None:
    """Show a trigger whole."""
    with connect() as atom:
        _print_trigger(Output.open(as_json), atom.call(atom.client.triggers.get(trigger)))


@app.command(epilog=example('atom triggers update morning --when "0 8 * * *" --timezone Europe/Berlin'))
def update(
    trigger: TriggerArgument,
    *,
    task: Annotated[str | None, typer.Option("--task", metavar="TEXT", help="Another task.")] = None,
    when: When = None,
    timezone: Zone = None,
    jitter: Jitter = None,
    new_secret: Annotated[bool, typer.Option("--new-secret", help="A new secret; the old one ends at once.")] = False,
    as_json: Json = False,
) -> None:
    """Change a trigger's task, schedule or secret. A schedule is given whole."""
    definition = _schedule(when, timezone, jitter)
    changes: dict[str, Any] = {"new_secret": True} if new_secret else {}
    changes |= {} if task is None else {"task": task}
    changes |= {"definition": definition} if definition else {}
    with connect() as atom:
        _print_trigger(Output.open(as_json), atom.call(atom.client.triggers.update(trigger, **changes)))


@app.command(epilog=example("atom triggers enable morning"))
def enable(trigger: TriggerArgument, as_json: Json = False) -> None:
    """Let a trigger fire again. What it missed is not made up for."""
    with connect() as atom:
        _print_trigger(Output.open(as_json), atom.call(atom.client.triggers.update(trigger, enabled=True)))


@app.command(epilog=example("atom triggers disable morning"))
def disable(trigger: TriggerArgument, as_json: Json = False) -> None:
    """Keep a trigger from firing."""
    with connect() as atom:
        _print_trigger(Output.open(as_json), atom.call(atom.client.triggers.update(trigger, enabled=False)))


@app.command(epilog=example("atom triggers remove morning"))
def remove(trigger: TriggerArgument, as_json: Json = False) -> None:
    """Remove a trigger. Its firings stay on record."""
    out = Output.open(as_json)
    with connect() as atom:
        atom.call(atom.client.triggers.remove(trigger))
    if as_json:
        out.json({"removed": trigger})
        return
    out.line(f"{trigger} removed")


@app.command(epilog=example("atom triggers fire morning"))
def fire(
    trigger: TriggerArgument,
    *,
    data: Annotated[str | None, typer.Option("--data", metavar="TEXT", help="Stands in the task, marked.")] = None,
    as_json: Json = False,
) -> None:
    """Start a trigger's task now, as a run of yours."""
    out = Output.open(as_json)
    with connect() as atom:
        firing = atom.call(atom.client.triggers.fire(trigger, data=data))
    if as_json:
        out.json(firing.plain())
        return
    out.line(firing.run_id or firing.id)


@app.command(epilog=example("atom triggers firings morning"))
def firings(trigger: TriggerArgument, *, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List what a trigger led to, the newest first."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.triggers.firings(trigger, limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    out.table(("at", "outcome", "run", "proposal or training", "key"), (_firing(one) for one in page.items))
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom triggers proposals"))
def proposals(
    *,
    status: Annotated[ProposalState, typer.Option("--status", help="Only those in this state.")] = ProposalState.OPEN,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List tasks that agents may not begin by themselves, the newest first."""
    out = Output.open(as_json)
    wanted = None if status is ProposalState.ALL else status.value
    with connect() as atom:
        page = atom.call(atom.client.triggers.proposals(limit, status=wanted, after=after))
    if as_json:
        out.json(page.plain())
        return
    columns = ("id", "agent", "status", "from", "expires", "task")
    rows = ((p.id, p.agent, p.status, p.origin, moment(p.expires_at), p.task) for p in page.items)
    out.table(columns, rows)
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom triggers approve 0199f1c2-..."))
def approve(proposal_id: ProposalArgument, *, note: Note = None, as_json: Json = False) -> None:
    """Let a proposed run start."""
    with connect() as atom:
        done = atom.call(atom.client.triggers.decide(proposal_id, approve=True, note=note))
    _print_proposal(Output.open(as_json), done)


@app.command(epilog=example('atom triggers reject 0199f1c2-... --note "not on a Sunday"'))
def reject(proposal_id: ProposalArgument, *, note: Note = None, as_json: Json = False) -> None:
    """Refuse a proposal."""
    with connect() as atom:
        done = atom.call(atom.client.triggers.decide(proposal_id, approve=False, note=note))
    _print_proposal(Output.open(as_json), done)


def _schedule(when: str | None, timezone: str | None, jitter: int | None) -> dict[str, Any]:
    said = (when or "").strip()
    every = said[len("every ") :].strip() if said.lower().startswith("every ") else None
    rule = {"every": every, "cron": None if every else when, "timezone": timezone, "jitter": jitter}
    return {name: value for name, value in rule.items() if value is not None}


def _where(given: list[str] | None) -> dict[str, str]:
    pairs = [line.partition("=") for line in given or ()]
    if any(not name or not sign for name, sign, _ in pairs):
        raise InvalidError("--where takes NAME=VALUE.", hint="--where status=rejected")
    return {name: value for name, _, value in pairs}


def _state(trigger: Trigger) -> str:
    return "enabled" if trigger.enabled else "disabled"


def _firing(firing: Firing) -> tuple[object, ...]:
    said = f"{firing.outcome} ({firing.reason})" if firing.reason else firing.outcome
    return moment(firing.at), said, firing.run_id or "-", firing.proposal_id or firing.training_id or "-", firing.key


def _print_trigger(out: Output, trigger: Trigger) -> None:
    if out.as_json:
        out.json(trigger.plain())
        return
    out.fields(
        [
            ("trigger", trigger.name),
            ("id", trigger.id),
            ("agent", trigger.agent),
            ("kind", trigger.kind),
            ("state", _state(trigger)),
            ("definition", to_json(trigger.definition)),
            ("task", one_line(trigger.task, 2000)),
            ("next", moment(trigger.next_at) if trigger.next_at else None),
            ("last", moment(trigger.last_at) if trigger.last_at else None),
            ("last run", trigger.last_run_id),
            ("deliver to", trigger.webhook_url),
            ("secret", trigger.secret),
        ]
    )
    if trigger.secret:
        out.note("The secret is not shown again.")


def _print_proposal(out: Output, proposal: Proposal) -> None:
    if out.as_json:
        out.json(proposal.plain())
        return
    out.line(f"{proposal.id} {proposal.status}" + (f", run {proposal.run_id}" if proposal.run_id else ""))
