"""`atom skills scan`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from atom.cli.failures import NO
from atom.cli.options import Json
from atom.cli.output import Output, visible
from atom.cli.skill_path import unread
from atom.cli.skills_registry import OneVersion, digest_of
from atom.cli.target import connect
from atom.errors import InvalidError
from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.reading import read_path
from atom.skills.errors import BundleError
from atom.skills.manifest.reading import read
from atom.skills.scan.service import Scanner

STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}
Target = Annotated[
    str, typer.Argument(metavar="PATH|NAME", help="A SKILL.md, a folder, a zip or a tar here; else an imported skill.")
]


def scan(target: Target, *, version: OneVersion = None, as_json: Json = False) -> None:
    """Tell what a skill can do and what is suspicious about it; nothing of it is executed. Exits 1 on errors.

    What is here is not sent anywhere; an imported one is scanned by the server.
    """
    out = Output.open(as_json)
    here = Path(target)
    if here.exists():
        if version is not None:
            raise InvalidError("--version: there is one version here.", hint="Give the name of an imported skill.")
        found = _local(here, as_json=as_json)
    else:
        found = _imported(target, version)
    if as_json:
        out.json(found)
    else:
        _print(out, target, found)
    if found["counts"].get("error"):
        raise typer.Exit(NO)


def _local(path: Path, *, as_json: bool) -> dict[str, Any]:
    try:
        bundle = read_path(path)
        manifest = read(bundle).manifest
    except BundleError as error:
        raise unread(error, as_json=as_json) from error
    scanned = Scanner(TreeSitter()).scan(bundle, manifest.metadata)
    return {"name": manifest.name, "digest": bundle.digest, **scanned.plain()}


def _imported(name: str, version: str | None) -> dict[str, Any]:
    with connect() as atom:
        digest = digest_of(atom.call(atom.client.skills.get(name)), version)
        return atom.call(atom.client.skills.scan(name, digest)).plain()


def _print(out: Output, target: str, found: Mapping[str, Any]) -> None:
    findings: Sequence[Mapping[str, Any]] = found["findings"]
    for one in findings:
        place = ":".join(str(one[part]) for part in ("file", "line", "column") if one[part] is not None)
        out.line(
            visible(f"{place}: {one['severity']}: {one['message']} [{one['id']}]"), STYLES.get(one["severity"], "")
        )
    counts = found["counts"]
    said = ", ".join(
        f"{counts.get(name, 0)} {name}{'' if counts.get(name, 0) == 1 else 's'}" for name in ("error", "warning")
    )
    out.line(f"{visible(str(found['name'] or target))}: {said}.", "bold")
    out.note("A scan is a hint: what is not found can still be there. The sandbox is what holds a skill.")
