"""`atom skills run`, `test` and `logs`."""

import asyncio
import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from atom.cli.failures import INTERRUPTED, NO
from atom.cli.options import After, Json, Limit, example
from atom.cli.output import Output, moment, one_line, to_json
from atom.cli.skill_path import existing, unread
from atom.cli.target import connect
from atom.client import BlockingAtom
from atom.client.skill_runs import Asked, SkillExecution
from atom.errors import AtomError, InvalidError, UnavailableError
from atom.infra import log
from atom.settings import Settings, load
from atom.skills.bundle.models import Bundle
from atom.skills.bundle.reading import read_path
from atom.skills.errors import BundleError
from atom.skills.execution.scripts import scripts_of
from atom.skills.execution.trial import Trial, trial
from atom.skills.layers.declared import declared
from atom.skills.layers.service import open_layers
from atom.skills.sandbox.service import open_sandbox

SkillArgument = Annotated[str, typer.Argument(metavar="SKILL", help="Name of the skill.")]
Script = Annotated[str, typer.Argument(metavar="SCRIPT", help="Path or name of the script; else the only one.")]
Arguments = Annotated[list[str] | None, typer.Option("--arg", metavar="TEXT", help="For its command line; repeatable.")]
Input = Annotated[str | None, typer.Option("--input", metavar="JSON", help="What it reads; @FILE reads it from there.")]
Files = Annotated[
    list[Path] | None, typer.Option("--file", metavar="PATH", help="A file it gets as input/NAME; repeatable.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Put the files that it makes there.")]
Version = Annotated[str, typer.Option("--version", metavar="HASH", help="Which version; else the one imported last.")]
STATUS_STYLES = {"completed": "green", "failed": "bold red", "cancelled": "yellow"}


class ExecutionStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def add_runs(app: typer.Typer) -> None:
    app.command("run", epilog=example("atom skills run word-count --arg input/report.txt --file report.txt"))(run_skill)
    app.command("test", epilog=example("atom skills test ./my-skill"))(try_skill)
    app.command(epilog=example("atom skills logs word-count --status failed"))(logs)
    app.command("cancel", epilog=example("atom skills cancel 0199f1c2-..."))(cancel_execution)


def run_skill(
    skill: SkillArgument,
    script: Script = "",
    *,
    arg: Arguments = None,
    input_: Input = None,
    file: Files = None,
    out_folder: Out = None,
    as_json: Json = False,
) -> None:
    """Run a script of a skill that is in use, in the server's sandbox. Exits 1 when it fails."""
    body = {"arguments": arg or [], "input": _input(input_), "files": _files(file or [])}
    _execute(skill, script, body, out_folder, as_json=as_json)


def try_skill(
    skill: Annotated[str, typer.Argument(metavar="PATH|SKILL", help="A skill that lies here, or one's name.")],
    script: Script = "",
    *,
    arg: Arguments = None,
    input_: Input = None,
    file: Files = None,
    version: Version = "",
    as_json: Json = False,
) -> None:
    """Try a skill in the sandbox. One that lies here: every script is read by its interpreter, none is run, and no
    server is asked. One by name: its script is run there, without a network; approved or not. Exits 1 on trouble.
    """
    if Path(skill).exists():
        if script or arg or input_ or file or version:
            raise InvalidError(
                f"PATH: {skill} lies here: its scripts are read and not run. SCRIPT and options are for one by name.",
                hint="Leave them out; or go to another folder to name the server's skill.",
            )
        return _test_here(Path(skill), as_json=as_json)
    body = {"arguments": arg or [], "input": _input(input_), "files": _files(file or [])}
    return _execute(skill, script, {**body, "version": version, "purpose": "test"}, None, as_json=as_json)


def logs(
    skill: Annotated[str | None, typer.Argument(metavar="SKILL", help="Only of this skill.")] = None,
    *,
    execution: Annotated[str | None, typer.Option("--id", metavar="ID", help="Everything of one execution.")] = None,
    status: Annotated[ExecutionStatus | None, typer.Option("--status", help="Only of this status.")] = None,
    run_id: Annotated[str | None, typer.Option("--run", metavar="ID", help="Only of this run of an agent.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List executions, the newest first, or show one: by --id, or by its id in place of a skill's name."""
    out = Output.open(as_json)
    if skill is not None and is_id(skill):
        skill, execution = None, skill
    with connect() as atom:
        if execution is not None:
            return _show(out, atom.call(atom.client.skill_runs.get(execution)))
        found = atom.client.skill_runs.list(skill=skill, status=None if status is None else status.value, run_id=run_id)
        page = atom.call(found.page(limit, after=after))
    if as_json:
        return out.json(page.plain())
    columns = ("id", "skill", "script", "status", "error", "by", "created")
    rows = (
        (one.id, one.skill, one.script, one.status, one.error_code or "", one.actor, moment(one.created_at))
        for one in page.items
    )
    out.table(columns, rows)
    if page.next:
        out.note(f"More: --after {page.next}")
    return None


def cancel_execution(
    execution: Annotated[str, typer.Argument(metavar="ID", help="Id of the execution.")], as_json: Json = False
) -> None:
    """End an execution that a person has started. That of an agent ends with its run."""
    out = Output.open(as_json)
    with connect() as atom:
        one = atom.call(atom.client.skill_runs.cancel(execution))
    if as_json:
        return out.json(one.plain())
    return out.line(f"{one.id} {one.status if one.ended else 'is being ended'}")


def _execute(skill: str, script: str, body: Mapping[str, Any], folder: Path | None, *, as_json: bool) -> None:
    out = Output.open(as_json)
    with connect() as atom:
        started = atom.call(atom.client.skill_runs.start(skill, script, **body))
        out.note(f"Execution {started.id} of {started.script}")
        done = started
        try:
            for state in atom.each(atom.client.skill_runs.watch(started.id)):
                done = state
        except KeyboardInterrupt:
            out.note(f"It goes on. See it: atom skills logs --id {started.id}")
            raise typer.Exit(INTERRUPTED) from None
        if folder is not None:
            _download(atom, out, done, folder)
    _show(out, done)
    if done.status != "completed":
        raise typer.Exit(NO)


def _test_here(path: Path, *, as_json: bool) -> None:
    out = Output.open(as_json)
    settings = load()
    log.configure(settings.logging.level, settings.logging.file, stdout=False)
    try:
        bundle = read_path(existing(path))
    except BundleError as error:
        raise unread(error, as_json=as_json) from error

    async def tried() -> Trial:
        sandbox, report = await open_sandbox(settings.sandbox)
        try:
            return await trial(bundle, sandbox, report.languages, await _layers(settings, bundle))
        finally:
            await sandbox.close()

    found = asyncio.run(tried())
    if as_json:
        out.json({"checked": list(found.checked), "troubles": [one.plain() for one in found.troubles]})
    else:
        for one in found.troubles:
            place = one.file if one.line is None else f"{one.file}:{one.line}"
            out.line(f"{place}: {one.code}: {one.message}", "bold red")
        out.line(f"{len(found.checked)} scripts were read in the sandbox, {len(found.troubles)} in trouble.", "bold")
    if found.troubles:
        raise typer.Exit(NO)


async def _layers(settings: Settings, bundle: Bundle) -> dict[str, str]:
    """The folder of the packages of each script that declares any; empty where they are not installed here."""
    declarations = declared(bundle)
    wanted = {path: declarations.of(path) for path in scripts_of(bundle.files)}
    if not any(wanted.values()):
        return {}
    try:
        layers = await open_layers(settings.sandbox, settings.home)
    except AtomError:  # there are none here, and `atom skills build` says why
        return {path: "" for path, one in wanted.items() if one}
    found = {path: await layers.find(one) for path, one in wanted.items() if one}
    return {path: "" if layer is None else str(layer.folder) for path, layer in found.items()}


def _show(out: Output, one: SkillExecution) -> None:
    if out.as_json:
        out.json(one.plain())
        return
    out.line(f"{one.skill} {one.script}: {one.status}", STATUS_STYLES.get(one.status, ""))
    out.fields(
        [
            ("execution", one.id),
            ("error", one.error_code),
            ("message", one.error_message),
            ("advice", one.advice),
            ("exit", one.exit_code),
            ("result", to_json(one.value) if one.has_value else None),
            ("files", ", ".join(f"{made.name} ({made.bytes} bytes)" for made in one.artefacts)),
            ("not taken", ", ".join(f"{left.name} ({left.why})" for left in one.refused)),
            ("hosts", ", ".join(map(_asked, one.connections))),
            ("sandbox", one.backend),
            ("usage", _usage(one.usage)),
            ("content", one.digest),
            ("by", one.actor),
            ("run", one.run_id),
            ("created", moment(one.created_at)),
            ("ended", moment(one.ended_at)),
        ]
    )
    for name, text in (("Printed", one.stdout), ("On standard error", one.stderr)):
        if text.strip():
            out.line(f"\n{name}:", "bold")
            out.line(text.rstrip("\n"))


def _usage(usage: Mapping[str, float]) -> str:
    if not usage:
        return ""
    memory = usage.get("memory", 0) / (1 << 20)
    took = f"{usage.get('seconds', 0):.2f} s, {usage.get('cpu_seconds', 0):.2f} s of a processor"
    return f"{took}, {memory:.1f} MiB, {usage.get('bytes', 0):.0f} bytes out"


def _asked(one: Asked) -> str:
    return f"{one.host}:{one.port} {'reached' if one.allowed else f'refused ({one.reason})'} x{one.count}"


def _download(atom: BlockingAtom, out: Output, done: SkillExecution, folder: Path) -> None:
    for made in done.artefacts:
        data = atom.call(atom.client.skill_runs.download(done.id, made.name))
        target = (folder / made.name).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise InvalidError(f"{one_line(made.name)} would lie outside of {folder}.")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except OSError as error:
            raise UnavailableError(f"{target} cannot be written: {error.strerror}.") from error
        out.note(f"{target}: {made.bytes} bytes")


def is_id(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def _input(text: str | None) -> Any:
    """Raises InvalidError."""
    if text is None:
        return None
    try:
        return json.loads(Path(text[1:]).read_text("utf-8") if text.startswith("@") else text)
    except OSError as error:
        raise InvalidError(f"--input: {text[1:]} cannot be read: {error.strerror}.", field="--input") from error
    except (ValueError, RecursionError) as error:
        said = f"--input: it is not JSON: {error}."
        raise InvalidError(said, hint="A text is JSON in quotes.", field="--input") from None


def _files(paths: list[Path]) -> dict[str, bytes]:
    """Raises InvalidError."""
    found: dict[str, bytes] = {}
    for path in paths:
        if path.name in found:
            raise InvalidError(f"--file: there are two of the name {path.name}.", field="--file")
        try:
            found[path.name] = path.read_bytes()
        except OSError as error:
            raise InvalidError(f"--file: {path} cannot be read: {error.strerror}.", field="--file") from error
    return found
