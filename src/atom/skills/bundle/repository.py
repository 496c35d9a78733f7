"""One skill out of an archive of a whole repository: only what is in its folder is looked at and counted."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from atom.errors import InvalidError
from atom.skills.bundle import reading, tars, unpacking, zips
from atom.skills.bundle.collecting import Collector
from atom.skills.bundle.limits import LIMITS, Limits
from atom.skills.bundle.models import MANIFEST, Bundle, Form
from atom.skills.bundle.names import is_left_out, normal
from atom.skills.errors import BundleError, ManifestUnreadableError, shown

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
FEW = 20


class SeveralSkillsError(InvalidError):
    """`folders` are those with a SKILL.md, by name."""

    def __init__(self, folders: Sequence[str]) -> None:
        super().__init__(f"There are {len(folders)} skills in it.")
        self.folders = folders


@dataclass(frozen=True, slots=True)
class Found:
    """`folder` is where the skill lies in the repository; `commit` is empty where the archive does not say it."""

    bundle: Bundle
    folder: str
    commit: str


def read_repository(data: bytes, name: str, folder: str = "", limits: Limits = LIMITS) -> Found:
    """The skill in `folder`; without one, that at the top, else the only one there is.

    Raises SeveralSkillsError, BundleError.
    """
    archive = _opened(data, limits)
    if archive is None:
        return Found(reading.read_bytes(data, name, limits=limits), "", "")
    top = _top(archive.names)
    asked = normal(folder, limits) if folder else ""
    chosen = _chosen([one.removeprefix(top) for one in archive.names if one.startswith(top)], asked)
    archive.collect(archive.into, f"{top}{chosen}/" if chosen else top)
    called = chosen.rpartition("/")[2] or top.rstrip("/")
    bundle = reading.bundle_of(archive.into, archive.form, called or None)
    return Found(bundle, chosen, _commit(archive.comment, top))


class Collect(Protocol):
    """Takes the members whose name begins with `within`, which is taken off."""

    def __call__(self, into: Collector, within: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Archive:
    names: Sequence[str]
    comment: str
    form: Form
    into: Collector
    collect: Collect


def _opened(data: bytes, limits: Limits) -> _Archive | None:
    """None: it is no archive, or more than is read."""
    if len(data) > limits.packed_bytes:
        return None
    if data.startswith(reading.ZIP):
        names, comment = zips.names(data)
        return _Archive(names, comment, Form.ZIP, Collector(limits, len(data)), partial(zips.collect, data))
    plain = unpacking.unpacked(data, limits)
    if not tars.is_tar(plain):
        return None
    packed = len(data) if unpacking.is_packed(data) else None
    names, comment = tars.names(plain)
    return _Archive(names, comment, Form.TAR, Collector(limits, packed), partial(tars.collect, plain))


def _chosen(names: Iterable[str], asked: str) -> str:
    """The folder of the skill."""
    folders = sorted({
        one.rpartition("/")[0]
        for one in names
        if one.rpartition("/")[2].lower() == MANIFEST.lower() and not is_left_out(one)
    })  # fmt: skip
    below = [one for one in folders if not asked or one == asked or one.startswith(f"{asked}/")]
    if asked in below:
        return asked
    if len(below) > 1:
        raise SeveralSkillsError(below)
    if not below:
        raise _none(folders, asked)
    return below[0]


def _none(folders: Sequence[str], asked: str) -> BundleError:
    where = f"below {shown(asked)}" if asked else "in it"
    others = f" It is in {', '.join(shown(one or '.') for one in folders[:FEW])}." if folders else ""
    fix = "Name a folder that has one." if folders else "A skill has a file SKILL.md at its top."
    return ManifestUnreadableError(f"There is no SKILL.md {where}.{others}", problem="no_manifest", fix=fix)


def _top(names: Sequence[str]) -> str:
    """The one folder that everything is in, with its slash, as forges pack it; else nothing."""
    tops = {name.partition("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""


def _commit(comment: str, top: str) -> str:
    """As the archive's comment says it, else the name of its folder."""
    if COMMIT.fullmatch(comment):
        return comment
    last = top.rstrip("/").rpartition("-")[2]
    return last if COMMIT.fullmatch(last) else ""
