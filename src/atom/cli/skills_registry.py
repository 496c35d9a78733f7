"""`atom skills`: what is imported, approved and used."""

import io
import re
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from atom.cli.options import After, Json, Limit, example
from atom.cli.out_file import OutFile, written
from atom.cli.output import Output, moment, to_json
from atom.cli.skill_path import existing, unread
from atom.cli.skills_review import print_version, review_text
from atom.cli.target import connect
from atom.client import BlockingAtom
from atom.client.skills import Skill, SkillAccess, SkillSource, SkillVersion
from atom.errors import AtomError, InvalidError, NotFoundError
from atom.skills.bundle.limits import LIMITS
from atom.skills.bundle.models import Bundle
from atom.skills.bundle.reading import read_path

DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")
UNREADABLE = ("skill_bundle_", "skill_archive_", "skill_manifest_")  # codes of bundles that cannot be read
ADDRESS = re.compile(r"https?://", re.IGNORECASE)
FOLDER = "skill"  # where the folder has no name
SkillArgument = Annotated[str, typer.Argument(metavar="SKILL", help="Name of the skill.")]
OneVersion = Annotated[
    str | None, typer.Option("--version", metavar="HASH", help="Its content hash, or its number; else the newest.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the version and in the audit.")]


class Maturity(StrEnum):
    STUDENT = "student"
    INTERN = "intern"
    SUPERVISED = "supervised"
    AUTONOMOUS = "autonomous"


def add_to_skills(app: typer.Typer) -> None:
    app.command("import", epilog=example("atom skills import ./my-skill"))(import_skill)
    app.command("list", epilog=example("atom skills list"))(list_skills)
    app.command(epilog=example("atom skills show my-skill --file SKILL.md"))(show)
    app.command(epilog=example('atom skills approve my-skill --reason "read by Ann"'))(approve)
    app.command(epilog=example("atom skills activate my-skill --version 1"))(activate)
    app.command(epilog=example('atom skills disable my-skill --reason "it reads mail"'))(disable)
    app.command(epilog=example('atom skills retire my-skill --version 2 --reason "malicious"'))(retire)
    app.command(epilog=example("atom skills access my-skill --agents guide,writer --highest-risk 2"))(access)
    app.command(epilog=example("atom skills lock -o skills.lock.json"))(lock)


def import_skill(
    path: Annotated[
        str, typer.Argument(metavar="PATH|URL", help="A SKILL.md, a folder, a zip, a tar, or a repository's address.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Send a skill to the server, or let it fetch one: quarantined there until somebody approves it. Exits 3 when it
    cannot be read."""
    out = Output.open(as_json)
    try:
        if ADDRESS.match(path):
            with connect() as atom:
                found = atom.call(atom.client.skills.import_from(path))
        else:
            name, data = _packed(existing(Path(path)))
            with connect() as atom:
                found = atom.call(atom.client.skills.import_(name, io.BytesIO(data)))
    except AtomError as error:
        if error.code.startswith(UNREADABLE):
            raise unread(error, as_json=as_json) from error
        raise
    if as_json:
        out.json(found.plain())
        return
    version = found.version
    known = "" if found.created else ", imported before"
    out.line(f"{found.name} version {version.version} is {version.status}{known}: {version.digest}")
    if found.source is not None:
        out.note(f"From {found.source.archive}{_of_commit(found.source)}")
    if not version.approvable:
        out.note("It has errors and cannot be approved: `atom skills show` has each of them.", "yellow")
    elif version.status == "quarantined":
        out.note(f"To use it: atom skills approve {found.name}")


def list_skills(*, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """List skills, the newest first, with the version in use and the one imported last."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.skills.list().page(limit, after=after))
    if as_json:
        out.json(page.plain())
        return
    rows = (
        (one.name, one.current.version if one.current else "-", one.newest.version, one.newest.status, one.description)
        for one in page.items
    )
    out.table(("skill", "in use", "newest", "its status", "description"), rows)
    if page.next:
        out.note(f"More: --after {page.next}")


def show(
    skill: SkillArgument,
    *,
    version: OneVersion = None,
    file: Annotated[str | None, typer.Option("--file", metavar="PATH", help="Print this text of it.")] = None,
    as_json: Json = False,
) -> None:
    """Show a skill with its versions, one version with its findings and files, or a text of it."""
    out = Output.open(as_json)
    with connect() as atom:
        skills, found = atom.client.skills, atom.call(atom.client.skills.get(skill))
        if file is not None:
            text = atom.call(skills.text(skill, digest_of(found, version), file))
            out.json(text.plain()) if as_json else out.write(text.text)
            if text.cut:
                out.note("There is more of it than is shown.", "yellow")
        elif version is not None:
            print_version(out, atom.call(skills.version(skill, digest_of(found, version))))
        elif as_json:
            out.json(found.plain())
        else:
            _print_skill(out, found)


def approve(
    skill: SkillArgument,
    *,
    version: OneVersion = None,
    reason: Reason = "",
    only_approve: Annotated[bool, typer.Option("--no-activate", help="Do not use it yet.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not show it, do not ask; --version then names the content hash.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Consent to exactly these bytes and capabilities, with the findings and what changed in front of you."""
    out = Output.open(as_json)
    if yes and not (version and DIGEST.fullmatch(version)):
        raise InvalidError("--yes: nobody looks at it, so --version has to be a content hash.", hint="sha256:...")
    with connect() as atom:
        seen = _seen(atom, skill, version)
        if not yes:
            out.notes.print(review_text(seen), soft_wrap=True, highlight=False, markup=False)
            if seen.approvable:
                typer.confirm(f"Approve {seen.name} version {seen.version}?", abort=True, err=True)
        done = atom.call(atom.client.skills.approve(seen, reason=reason, activate=not only_approve))
    _print_status(out, done)


def activate(skill: SkillArgument, *, version: OneVersion = None, reason: Reason = "", as_json: Json = False) -> None:
    """Use an approved version, or one that was disabled, in place of the one in use."""
    with connect() as atom:
        found = atom.call(atom.client.skills.get(skill))
        done = atom.call(atom.client.skills.activate(skill, digest_of(found, version), reason=reason))
    _print_status(Output.open(as_json), done)


def disable(
    skill: SkillArgument,
    *,
    version: Annotated[
        str | None, typer.Option("--version", metavar="HASH", help="Its content hash, or its number; else that in use.")
    ] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Take a skill out of use at once. No other version comes in its place."""
    with connect() as atom:
        found = atom.call(atom.client.skills.get(skill))
        if version is None and found.current is None:
            raise NotFoundError(f"No version of {found.name} is in use.", hint="`atom skills show` lists them.")
        digest = found.current.digest if version is None and found.current else digest_of(found, version)
        done = atom.call(atom.client.skills.disable(skill, digest, reason=reason))
    _print_status(Output.open(as_json), done)


def retire(
    skill: SkillArgument,
    *,
    version: Annotated[str, typer.Option("--version", metavar="HASH", help="Its content hash, or its number.")],
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take a version out of use for good: the same content cannot be approved again."""
    with connect() as atom:
        digest = digest_of(atom.call(atom.client.skills.get(skill)), version)
        if not yes:
            typer.confirm(f"Retire {skill} {digest} for good?", abort=True, err=True)
        done = atom.call(atom.client.skills.retire(skill, digest, reason=reason))
    _print_status(Output.open(as_json), done)


def access(
    skill: SkillArgument,
    *,
    agents: Annotated[
        str | None, typer.Option("--agents", metavar="A,B", help="Names of agents; `all`; empty for none.")
    ] = None,
    lowest_maturity: Annotated[Maturity | None, typer.Option("--lowest-maturity", help="Of an agent.")] = None,
    highest_risk: Annotated[
        int | None, typer.Option("--highest-risk", min=1, max=4, help="That a version may declare.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show or say who may use a skill. What is not given stays as it is."""
    with connect() as atom:
        found = atom.call(atom.client.skills.get(skill))
        if (agents, lowest_maturity, highest_risk) != (None, None, None):
            before = found.access
            wanted = SkillAccess(
                agents=before.agents if agents is None else _agents(agents),
                lowest_maturity=lowest_maturity.value if lowest_maturity else before.lowest_maturity,
                highest_risk=highest_risk or before.highest_risk,
            )
            found = atom.call(atom.client.skills.set_access(skill, wanted))
    out = Output.open(as_json)
    if as_json:
        out.json(found.access.plain())
        return
    _print_access(out, found)


def lock(*, output: OutFile = None, as_json: Json = False) -> None:
    """Print which bytes of which skills are in use, as JSON in a stable order: `diff` shows what changed."""
    del as_json  # it is JSON in any case
    with connect() as atom:
        found = atom.call(atom.client.skills.lock())
    with written(output) as file:
        file.write(f"{to_json(found.plain(), indent=2)}\n")


def _of_commit(source: SkillSource) -> str:
    folder = f", folder {source.folder}" if source.folder else ""
    return (f", commit {source.commit}" if source.commit else f", {source.ref}" if source.ref else "") + folder


def _packed(path: Path) -> tuple[str, bytes]:
    """What is sent, and how it is called. A folder is read as `validate` reads it, and packed in memory."""
    if path.is_dir():
        return f"{FOLDER}.zip", _zip(read_path(path))
    with path.open("rb") as file:
        return path.name, file.read(LIMITS.packed_bytes + 1)


def _zip(bundle: Bundle) -> bytes:
    """The same bytes for the same bundle. Stored: it must not look like a bomb."""
    out = io.BytesIO()
    method = zipfile.ZIP_STORED if bundle.size < LIMITS.packed_bytes // 2 else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, member in bundle.files.items():
            info = zipfile.ZipInfo(f"{bundle.folder or FOLDER}/{name}")
            info.create_system, info.compress_type = 3, method
            info.external_attr = (0o100755 if member.executable else 0o100644) << 16
            archive.writestr(info, member.data)
    return out.getvalue()


def digest_of(skill: Skill, version: str | None) -> str:
    """By hash, by number, or the newest."""
    if version is None:
        return skill.newest.digest
    if DIGEST.fullmatch(version):
        return version if version.startswith("sha256:") else f"sha256:{version}"
    found = [one.digest for one in skill.versions if str(one.version) == version]
    if not found:
        raise NotFoundError(f"{skill.name} has no version {version}.", hint="`atom skills show` lists them.")
    return found[0]


def _seen(atom: BlockingAtom, skill: str, version: str | None) -> SkillVersion:
    digest = digest_of(atom.call(atom.client.skills.get(skill)), version)
    return atom.call(atom.client.skills.version(skill, digest))


def _agents(given: str) -> tuple[str, ...] | None:
    return None if given == "all" else tuple(name.strip() for name in given.split(",") if name.strip())


def _print_skill(out: Output, skill: Skill) -> None:
    in_use = f"version {skill.current.version}" if skill.current else "no version"
    out.fields([("skill", skill.name), ("description", skill.description), ("in use", in_use)])
    _print_access(out, skill)
    rows = (
        (
            one.version,
            one.status,
            one.counts.get("error", 0),
            moment(one.imported_at),
            one.approved_by or "-",
            one.digest,
        )
        for one in skill.versions
    )
    out.table(("version", "status", "errors", "imported", "approved by", "hash"), rows)


def _print_access(out: Output, skill: Skill) -> None:
    allowed = skill.access
    agents = "all" if allowed.agents is None else ", ".join(allowed.agents) or "none"
    rows = [("agents", agents), ("lowest maturity", allowed.lowest_maturity), ("highest risk", allowed.highest_risk)]
    out.fields(rows)


def _print_status(out: Output, version: SkillVersion) -> None:
    if out.as_json:
        out.json(version.plain())
        return
    out.line(f"{version.name} version {version.version} is {version.status}: {version.digest}")
