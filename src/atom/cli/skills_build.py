"""`atom skills build`: the packages of a skill, installed before anything of it runs."""

import asyncio
import re
from pathlib import Path
from typing import Annotated

import typer

from atom.cli.failures import NO, failed
from atom.cli.job import watch_job
from atom.cli.options import Json
from atom.cli.output import Output
from atom.cli.progress import Spinner
from atom.cli.skill_path import existing, unread
from atom.cli.target import connect
from atom.infra import log
from atom.infra.postgres_place import make_home
from atom.settings import Settings, load
from atom.skills.bundle.reading import read_path
from atom.skills.errors import BundleError
from atom.skills.layers.declared import Declarations, declared
from atom.skills.layers.errors import DependencyRefusedError, LayerTooLargeError
from atom.skills.layers.models import Layer, Wanted
from atom.skills.layers.service import open_layers

OTHERS = "every program"  # that declares nothing of its own
Built = list[tuple[Wanted, list[str], Layer]]


def build(
    skill: Annotated[str, typer.Argument(metavar="PATH|SKILL", help="A skill that lies here, or one's name.")],
    *,
    version: Annotated[str, typer.Option("--version", metavar="HASH", help="Of one by name; else the newest.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Ask the source anew, also for what was built before.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Install what a skill declares into read-only layers; no code of a package runs. One that lies here: for the
    sandbox of this machine, and no server is asked. One by name: where the server runs scripts. Exits 1 when it cannot
    be installed."""
    out = Output.open(as_json)
    path = Path(skill)
    if not path.exists() and is_name(skill):
        with connect() as atom:
            job = atom.call(atom.client.skill_runs.build(skill, version=version, again=again))
            return watch_job(atom, out, job)
    every = load()
    log.configure(every.logging.level, every.logging.file, stdout=False)
    try:
        found = declared(read_path(existing(path)))
        built = asyncio.run(_built(every, found, out, again=again))
    except BundleError as error:
        raise unread(error, as_json=as_json) from error
    except (DependencyRefusedError, LayerTooLargeError) as error:
        failed(error, as_json=as_json)
        raise typer.Exit(NO) from error
    if as_json:
        return out.json({"layers": [_plain(*one) for one in built]})
    for one in built:
        _print(out, *one)
    if not built:
        out.line("It declares no packages: there is nothing to build.")
    return None


def is_name(text: str) -> bool:
    """A name that a skill can have; whatever else does not exist was meant for a path."""
    return re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text) is not None


async def _built(every: Settings, found: Declarations, out: Output, *, again: bool) -> Built:
    sets = found.sets()
    if not sets:
        return []
    make_home(every.home)
    spinner = Spinner(out.notes)
    try:
        layers = await open_layers(every.sandbox, every.home, tell=lambda stage: spinner.start(f"{stage} ..."))
        return [(wanted, scripts, await layers.build(wanted, again=again)) for wanted, scripts in sets]
    finally:
        spinner.stop()


def _plain(wanted: Wanted, scripts: list[str], layer: Layer) -> dict[str, object]:
    return {"scripts": scripts, "requirements": list(wanted.texts), "fresh": layer.fresh, **layer.plain()}


def _print(out: Output, wanted: Wanted, scripts: list[str], layer: Layer) -> None:
    out.line(f"{', '.join(scripts) or OTHERS}: {', '.join(wanted.texts)}", "bold")
    out.table(("package", "version", "modules", "sha256"), _rows(layer))
    out.line(f"{'Built' if layer.fresh else 'Built before'}: {layer.digest}, {layer.files} files, {layer.size} bytes")
    for path in layer.left_out:
        out.note(f"Left out: {path}")


def _rows(layer: Layer) -> list[tuple[str, ...]]:
    return [(one.name, one.version, ", ".join(one.modules), one.sha256) for one in layer.packages]
