"""The tools for skills: an agent finds one, reads it, and runs its scripts in the sandbox."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atom.governance.models import Action, EffectClass, Label, Part, Risk
from atom.infra.db import unit_of_work
from atom.kit.text import shorten
from atom.skills.bundle.models import Bundle
from atom.skills.catalogue import Entry
from atom.skills.execution.models import ExecutionStatus
from atom.skills.execution.orders import INPUTS, MAX_FILE_BYTES, MAX_FILES, Order
from atom.skills.execution.scripts import scripts_of
from atom.skills.execution.service import Done
from atom.skills.layer import SkillLayer
from atom.skills.registry.using import Usable, content
from atom.skills.sandbox.models import MAX_ARGUMENTS
from atom.skills.speaking import RUN_ONLINE_SKILL, RUN_SKILL
from atom.tools.errors import ToolArgumentsError, ToolError
from atom.tools.ports import Tool, ToolContext, ToolOutput
from atom.tools.workspace import Workspace, plain_path

FIND_SKILLS, READ_SKILL = "find_skills", "read_skill"
DEFAULT_FOUND, MOST_FOUND = 8, 20
SHOWN_TEXT = 40_000
SHOWN_PRINTED = 20_000
SHOWN_ERRORS = 4_000
SHOWN_DESCRIPTION = 400
MOST_LISTED = 60
SKILL = {"type": "string", "minLength": 1, "maxLength": 64, "description": "The skill's exact name."}
NOTHING = "No skill that you may use is about this."
RUN_PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "skill": SKILL,
        "version": {
            "type": "string",
            "minLength": 12,
            "maxLength": 71,
            "description": "As read_skill shows it.",
        },
        "script": {"type": "string", "maxLength": 200, "description": "Its path; else the only one."},
        "arguments": {
            "type": "array",
            "items": {"type": "string", "maxLength": 8_000},
            "maxItems": MAX_ARGUMENTS,
            "description": "Its command line.",
        },
        "input": {"description": "What it reads on its standard input, as JSON."},
        "files": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 180},
            "maxItems": MAX_FILES,
            "description": f"Files of your workspace that it gets, each as {INPUTS}/ and its path.",
        },
        "folder": {
            "type": "string",
            "minLength": 1,
            "maxLength": 180,
            "description": "Where its files go in your workspace. Default: skills/ and the skill's name.",
        },
    },
    "required": ["skill", "version"],
    "additionalProperties": False,
}


@dataclass(slots=True)
class SkillDesk:
    """What the tools work with. `layer` is put in place when everything is built: agents, which skills are used by,
    are told the names of all tools before. `seconds`: the longest that a script may run."""

    seconds: float
    layer: SkillLayer | None = None

    @property
    def skills(self) -> SkillLayer:
        assert self.layer is not None
        return self.layer


def skill_tools(desk: SkillDesk) -> tuple[Tool, ...]:
    return _find_tool(desk), _read_tool(desk), _run_tool(desk, online=False), _run_tool(desk, online=True)


def _find_tool(desk: SkillDesk) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        query, limit = arguments["query"], arguments.get("limit", DEFAULT_FOUND)
        found = await desk.skills.catalogue.search(str(context.agent_id), query, limit)
        return ToolOutput("\n".join(map(line_of, found)) or NOTHING, data={"skills": len(found)})

    return Tool(
        action=Action(FIND_SKILLS, Risk.LOW, EffectClass.READ),
        description=(
            "Find skills: instructions and scripts that people have approved for work like yours. Gives names and what "
            "each is for; read one with read_skill before you use it."
        ),
        parameters={
            "type": "object",
            "properties": {
                "query": {"type": "string", "minLength": 1, "maxLength": 1_000, "description": "What you want to do."},
                "limit": {"type": "integer", "minimum": 1, "maximum": MOST_FOUND, "description": "How many at most."},
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        timeout=30.0,
        run=run,
    )


def _read_tool(desk: SkillDesk) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        layer = desk.skills
        async with layer.reader.turns:
            async with unit_of_work(layer.executions.sessions) as session:
                usable = await layer.use.usable(session, arguments["skill"], str(context.agent_id))
                kept = await content(session, usable)
            bundle = await kept.bundle()
        return ToolOutput(_shown(usable, bundle, arguments.get("file", "")), data={"digest": usable.digest})

    return Tool(
        action=Action(READ_SKILL, Risk.LOW, EffectClass.READ),
        description=(
            "Read a skill: its instructions, then the references it names, one file at a time. It was approved by a "
            "person. It also tells the version that running its scripts asks for."
        ),
        parameters={
            "type": "object",
            "properties": {
                "skill": SKILL,
                "file": {"type": "string", "maxLength": 200, "description": "A file of it; else its instructions."},
            },
            "required": ["skill"],
            "additionalProperties": False,
        },
        timeout=30.0,
        run=run,
    )


def _run_tool(desk: SkillDesk, *, online: bool) -> Tool:
    """Without a network a script has no effect but its files: it may be run again. With one, nobody knows."""

    async def run(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        folder = _folder(arguments)  # one that cannot be is refused before anything runs
        files = await asyncio.to_thread(_inputs, context, arguments.get("files", ()))
        order = Order(
            skill=arguments["skill"],
            actor=f"agent:{context.agent_name}",
            script=arguments.get("script", ""),
            arguments=tuple(arguments.get("arguments", ())),
            input=json.dumps(arguments.get("input")),
            files=files,
            version=arguments["version"],
            agent=str(context.agent_id),
            agent_id=context.agent_id,
            run_id=context.run_id,
            call_key=context.idempotency_key,
            online=online,
        )
        done = await desk.skills.executions.run(order)
        return await _output(done, context, tuple(files), folder, online=online)

    return Tool(
        action=Action(
            RUN_ONLINE_SKILL if online else RUN_SKILL,
            Risk.MODERATE,  # that of the skill is added by its own rule
            EffectClass.EFFECT if online else EffectClass.IDEMPOTENT,
            egress=online,
            reads=frozenset({Label.UNTRUSTED}) if online else frozenset({Label.TRUSTED}),
            parts={"input": Part.CONTENT, "arguments": Part.CONTENT},
        ),
        description=_description(online=online),
        parameters=RUN_PARAMETERS,
        timeout=desk.seconds + 660.0,  # the sandbox bounds the script; here the wait for a turn is in it
        run=run,
    )


def _description(*, online: bool) -> str:
    where = "that reaches the hosts it declares, and nothing else" if online else "without a network"
    return (
        f"Run a script of a skill in a sandbox {where}. Give the version that read_skill shows. It works in a folder "
        f"with the skill's own files; yours are below {INPUTS}/. What it writes to the folder output/ comes to you."
    )


def _folder(arguments: Mapping[str, Any]) -> str:
    return plain_path(arguments.get("folder") or f"skills/{arguments['skill']}")


def _inputs(context: ToolContext, paths: Sequence[str]) -> dict[str, bytes]:
    """Blocks. Raises ToolError."""
    workspace, found, room = Workspace(context.workspace), {}, MAX_FILE_BYTES
    for path in paths:
        plain = plain_path(path)
        found[plain] = workspace.read(plain, limit=max(room, 0))
        room -= len(found[plain])
    return found


async def _output(done: Done, context: ToolContext, given: Sequence[str], folder: str, *, online: bool) -> ToolOutput:
    """Also a failure brings what it is made of into the run: what the script printed may be the words of a file."""
    result, ending = done.result, done.ending
    if result is None or ending.status is not ExecutionStatus.COMPLETED:
        printed = "" if result is None else _printed(result.stdout, result.stderr)
        code = ending.code.value if ending.code else ending.status.value
        said = f"Error: {done.script} of {done.skill} failed ({code}): {ending.message} {ending.advice}{printed}"
        return ToolOutput(said, code=f"skill_{code}", paths=tuple(given))
    written = [f"{folder}/{one.name}" for one in result.artefacts]
    there: list[str] = []
    try:
        await context.label(written, frozenset({Label.UNTRUSTED}) if online else frozenset(), given)
        for path, one in zip(written, result.artefacts, strict=True):
            await asyncio.to_thread(Workspace(context.workspace).write, plain_path(path), one.body)
            there.append(path)
    except ToolError as error:  # it names a file as the script did: its words are those of what it was given
        said = f"Error: {done.script} of {done.skill} ended well, but its files could not all be put there: {error}"
        return ToolOutput(said, code="tool_error", files=tuple(there), paths=tuple(given))
    rows = [f"{done.script} of {done.skill} ended well.{_printed(result.stdout, result.stderr)}"]
    if result.has_value:
        rows.append(f"Result: {shorten(json.dumps(result.value, ensure_ascii=False), SHOWN_PRINTED)}")
    if written:
        rows.append("Files: " + ", ".join(written))
    rows += [f"Not taken: {name} ({why})" for name, why in result.refused[:10]]
    return ToolOutput(
        "\n".join(rows),
        data={"execution": str(done.id), "seconds": round(result.usage.seconds, 3), "backend": result.backend},
        files=tuple(written),
        paths=tuple(given),
    )


def _printed(stdout: bytes, stderr: bytes) -> str:
    said = stdout.decode("utf-8", "replace").strip()
    errors = stderr.decode("utf-8", "replace").strip()
    shown = f"\nIt printed:\n{_tail(said, SHOWN_PRINTED)}" if said else ""
    return shown + (f"\nOn standard error:\n{_tail(errors, SHOWN_ERRORS)}" if errors else "")


def _tail(text: str, most: int) -> str:
    return text if len(text) <= most else f"[... {len(text) - most} characters before]\n{text[-most:]}"


def line_of(one: Entry) -> str:
    return f"- {one.name}: {shorten(' '.join(one.description.split()), SHOWN_DESCRIPTION)}"


def _shown(usable: Usable, bundle: Bundle, file: str) -> str:
    """Raises ToolError for a file that is not there or is no text."""
    path = file or usable.manifest
    member = bundle.files.get(path)
    if member is None:
        raise ToolArgumentsError(f"file: {usable.name} has no {path!r}.", hint=f"It has: {_listed(bundle)}.")
    try:
        text = member.data.decode("utf-8")
    except UnicodeDecodeError:
        raise ToolError(f"file: {path!r} is no text.", hint="A script of the skill may read it.") from None
    rows = [f"{usable.name} version {usable.digest.removeprefix('sha256:')[:16]}, {path}:", shorten(text, SHOWN_TEXT)]
    if path == usable.manifest:
        tool = RUN_ONLINE_SKILL if usable.hosts else RUN_SKILL
        scripts = scripts_of(bundle.files)
        rows.append(f"Files: {_listed(bundle)}")
        rows.append(f"Scripts for {tool}: {', '.join(scripts[:MOST_LISTED])}" if scripts else "It has no scripts.")
    return "\n".join(rows)


def _listed(bundle: Bundle) -> str:
    paths = list(bundle.files)
    more = f" and {len(paths) - MOST_LISTED} more" if len(paths) > MOST_LISTED else ""
    return ", ".join(paths[:MOST_LISTED]) + more
