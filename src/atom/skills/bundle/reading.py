"""A bundle from whatever somebody has: a SKILL.md, a folder, a zip, a tar, or such bytes that were uploaded."""

import os
import stat
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from atom.skills.bundle import folders, tars, unpacking, zips
from atom.skills.bundle.collecting import FEW, Collector
from atom.skills.bundle.limits import LIMITS, Limits
from atom.skills.bundle.models import MANIFEST, Bundle, Form, Member
from atom.skills.errors import (
    ArchiveBrokenError,
    BundleError,
    BundleTooLargeError,
    ManifestUnreadableError,
    shown,
)

ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
TEXTS = {".md", ".markdown", ".txt"}


def read_path(path: Path, limits: Limits = LIMITS) -> Bundle:
    """The bundle at `path`. Nothing is written, nothing is executed, no link in it is followed. Raises BundleError."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link to a folder of another name
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(mode):
        into = Collector(limits)
        folders.collect(path, into)
        return bundle_of(into, Form.FOLDER, path.name or None)
    if not stat.S_ISREG(mode):
        raise BundleError(f"{shown(str(path))} is no file.", problem="special_file", fix="Name a file or a folder.")
    try:
        with path.open("rb") as file:
            data = file.read(limits.packed_bytes + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    return read_bytes(data, path.name, folder=path.parent.name or None, limits=limits)


def read_bytes(data: bytes, name: str, *, folder: str | None = None, limits: Limits = LIMITS) -> Bundle:
    """The bundle in `data`, called `name` where it comes from. What it is, is seen in the bytes, not in the name.

    `folder` is the folder that a single SKILL.md lay in. Raises BundleError.
    """
    if len(data) > limits.packed_bytes:
        raise BundleTooLargeError(
            f"It has more than {limits.packed_bytes} bytes.", problem="too_many_bytes", fix="Pack only the skill."
        )
    into = Collector(limits, packed=len(data))
    if data.startswith(ZIP):
        zips.collect(data, into)
        return bundle_of(into, Form.ZIP)
    plain = unpacking.unpacked(data, limits)
    if tars.is_tar(plain):
        into.packed = len(data) if unpacking.is_packed(data) else None
        tars.collect(plain, into)
        return bundle_of(into, Form.TAR)
    if unpacking.is_packed(data) or PurePosixPath(name).suffix.lower() not in TEXTS:
        raise ArchiveBrokenError(
            f"{shown(name)} is no zip, no tar and no SKILL.md.",
            problem="unknown_format",
            fix="Give a SKILL.md, a folder, a zip or a tar (gz, bz2, xz, zst).",
        )
    into.packed = None
    into.file(MANIFEST, [data], executable=False)
    return bundle_of(into, Form.FILE, folder)


def bundle_of(into: Collector, form: Form, folder: str | None = None) -> Bundle:
    """Of what was collected from the folder of that name. Raises ManifestUnreadableError."""
    files = into.files
    if _manifest(files) is None and (top := _top(files)) is not None:
        files = {path.removeprefix(f"{top}/"): member for path, member in files.items()}
        folder = top
    manifest = _manifest(files)
    if manifest is None:
        raise _no_manifest(into.files)
    return Bundle(MappingProxyType(dict(sorted(files.items()))), manifest, form, folder, tuple(into.left_out[:FEW]))


def _manifest(files: dict[str, Member]) -> str | None:
    """Its path at the top; names that differ only in case are not in one bundle."""
    return next((path for path in files if path.lower() == MANIFEST.lower()), None)


def _top(files: dict[str, Member]) -> str | None:
    """The one folder that everything is in, as archives of a repository have it."""
    tops = {path.partition("/")[0] for path in files}
    return tops.pop() if len(tops) == 1 and all("/" in path for path in files) else None


def _no_manifest(files: dict[str, Member]) -> ManifestUnreadableError:
    deeper = sorted(path for path in files if path.lower().endswith(f"/{MANIFEST.lower()}"))
    if not deeper:
        return ManifestUnreadableError(
            "There is no SKILL.md.", problem="no_manifest", fix="A skill has a file SKILL.md at its top."
        )
    return ManifestUnreadableError(
        f"SKILL.md is not at the top, but {len(deeper)} deeper: {', '.join(map(shown, deeper[:3]))}.",
        problem="no_manifest",
        fix="Give the folder of one skill.",
    )


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(
        f"{shown(str(path))} cannot be read ({error.strerror}).", problem="unreadable", fix="Check the path."
    )
