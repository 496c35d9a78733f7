"""`atom agents`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from atom.cli import maturity as earned
from atom.cli.job import watch_job
from atom.cli.options import After, AgentArgument, AgentStatus, Json, Limit, example
from atom.cli.output import Output, moment
from atom.cli.prompt import read_instructions
from atom.cli.target import connect
from atom.client.models import Agent
from atom.errors import InvalidError
from atom.governance.models import Maturity, Risk

Instructions = Annotated[
    str | None, typer.Option("--instructions", metavar="TEXT", help="What the agent is told to be and do.")
]
InstructionsFile = Annotated[
    Path | None, typer.Option("--instructions-file", metavar="FILE", help="The same, from a UTF-8 file.")
]
Tools = Annotated[
    str | None, typer.Option("--tools", metavar="A,B", help="Names of its tools, comma-separated; empty for none.")
]
Model = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Model it prefers; empty for Atom's choice.")
]
MaxRunning = Annotated[
    int | None,
    typer.Option("--max-running", metavar="N", min=0, help="Most of its runs at work at once; 0: Atom's own limit."),
]
Level = Annotated[Maturity | None, typer.Option("--maturity", help="How far it may go without asking.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

app = typer.Typer()
earned.add_to_agents(app)


@app.command(epilog=example('atom agents create guide --instructions "Answer from the docs." --tools search_text'))
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new agent.")],
    *,
    instructions: Instructions = None,
    instructions_file: InstructionsFile = None,
    tools: Tools = None,
    model: Model = None,
    maturity: Level = None,
    max_running: MaxRunning = None,
    as_json: Json = False,
) -> None:
    """Create an agent. A new one is a student, unless an admin says otherwise."""
    fields = _fields(instructions, instructions_file, tools=tools, model=model, maturity=maturity)
    if max_running is not None:
        fields["max_running"] = max_running
    with connect() as atom:
        agent = atom.call(atom.client.agents.create(name, **fields))
    _print_agent(Output.open(as_json), agent)


@app.command("list", epilog=example("atom agents list --status active"))
def list_agents(
    *,
    status: Annotated[AgentStatus | None, typer.Option("--status", help="Only agents in this state.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List agents."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.agents.list(status=status).page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    columns = ("name", "status", "maturity", "version", "model", "tools")
    out.table(
        columns,
        (
            (agent.name, agent.status, agent.maturity, agent.version, agent.model or "-", _tools(agent))
            for agent in page.items
        ),
    )
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom agents show guide"))
def show(agent: AgentArgument, as_json: Json = False) -> None:
    """Show an agent."""
    with connect() as atom:
        found = atom.call(atom.client.agents.get(agent))
    _print_agent(Output.open(as_json), found)


@app.command(epilog=example("atom agents update guide --tools search_text,read_file"))
def update(
    agent: AgentArgument,
    *,
    instructions: Instructions = None,
    instructions_file: InstructionsFile = None,
    tools: Tools = None,
    model: Model = None,
    maturity: Level = None,
    max_running: MaxRunning = None,
    as_json: Json = False,
) -> None:
    """Change an agent: a new version of it. What is not named stays."""
    fields = _fields(instructions, instructions_file, tools=tools, model=model, maturity=maturity)
    if max_running is not None:
        fields["max_running"] = max_running
    if not fields:
        raise InvalidError("Nothing to change is given.", hint="`atom agents update --help` lists what can be.")
    with connect() as atom:
        changed = atom.call(atom.client.agents.update(agent, **fields))
    _print_agent(Output.open(as_json), changed)


@app.command(epilog=example("atom agents pause guide"))
def pause(agent: AgentArgument, as_json: Json = False) -> None:
    """Pause an agent: it may do nothing until it is resumed."""
    with connect() as atom:
        changed = atom.call(atom.client.agents.pause(agent))
    _print_agent(Output.open(as_json), changed)


@app.command(epilog=example("atom agents resume guide"))
def resume(agent: AgentArgument, as_json: Json = False) -> None:
    """Resume a paused agent."""
    with connect() as atom:
        changed = atom.call(atom.client.agents.resume(agent))
    _print_agent(Output.open(as_json), changed)


@app.command(epilog=example("atom agents retire guide --yes"))
def retire(agent: AgentArgument, yes: Yes = False, as_json: Json = False) -> None:
    """Retire an agent for good. Its history stays."""
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Retire {agent} for good?", abort=True, err=True)
    with connect() as atom:
        changed = atom.call(atom.client.agents.retire(agent))
    _print_agent(Output.open(as_json), changed)


@app.command(epilog=example("atom agents versions guide"))
def versions(agent: AgentArgument, *, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List the versions of an agent."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.agents.versions(agent).page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    rows = (
        (
            item.version,
            moment(item.created_at),
            item.changed_by,
            item.definition.status,
            item.definition.maturity,
            item.definition.model or "-",
            ",".join(item.definition.tools) or "none",
            item.definition.instructions,
        )
        for item in page.items
    )
    out.table(("version", "created", "by", "status", "maturity", "model", "tools", "instructions"), rows)
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom agents index guide"))
def index(
    agent: AgentArgument,
    *,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and return at once.")] = False,
    as_json: Json = False,
) -> None:
    """Prepare the search index of an agent's files."""
    out = Output.open(as_json)
    with connect() as atom:
        job = atom.call(atom.client.agents.index(agent))
        if not no_wait:
            watch_job(atom, out, job.job_id)
        elif as_json:
            out.json(job.plain())
        else:
            out.line(job.job_id)
            out.note(f"Follow it: atom jobs show {job.job_id} --follow")


@app.command(epilog=example("atom agents tools"))
def tools(*, limit: Limit = 200, after: After = None, as_json: Json = False) -> None:
    """List the tools an agent may be given, with their risk."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.tools().page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    rows = (
        (
            tool.name,
            _risk(tool.risk),
            tool.effect,
            "yes" if tool.egress else "no",
            f"{tool.timeout:g}s",
            tool.description,
        )
        for tool in page.items
    )
    out.table(("name", "risk", "effect", "egress", "timeout", "description"), rows)


def _fields(
    instructions: str | None, path: Path | None, *, tools: str | None, model: str | None, maturity: Maturity | None
) -> dict[str, Any]:
    """What was given, as the API takes it; an empty model means Atom's choice."""
    fields: dict[str, Any] = {"instructions": read_instructions(instructions, path), "model": model}
    fields["tools"] = None if tools is None else [name.strip() for name in tools.split(",") if name.strip()]
    fields["maturity"] = None if maturity is None else maturity.value
    return {name: value for name, value in fields.items() if value is not None}


def _print_agent(out: Output, agent: Agent) -> None:
    if out.as_json:
        out.json(agent.plain())
        return
    out.fields(
        [
            ("name", agent.name),
            ("id", agent.id),
            ("status", agent.status),
            ("maturity", agent.maturity),
            ("less by class", ", ".join(f"{name} {level}" for name, level in sorted(agent.class_maturity.items()))),
            ("version", agent.version),
            ("model", agent.model or "Atom's choice"),
            ("tools", _tools(agent)),
            ("max running", agent.max_running),
            ("created", moment(agent.created_at)),
            ("updated", moment(agent.updated_at)),
            ("instructions", agent.instructions),
        ]
    )


def _tools(agent: Agent) -> str:
    return ",".join(agent.tools) or "none"


def _risk(level: int) -> str:
    return f"{level} {Risk(level).name.lower()}" if level in set(Risk) else str(level)
