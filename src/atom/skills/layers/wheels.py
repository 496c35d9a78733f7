"""What is taken out of a wheel. It is read as a stranger's archive: counted, and no name leads out of the layer."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    canonicalize_version,
    parse_wheel_filename,
)
from packaging.version import Version

from atom.skills.bundle import zips
from atom.skills.bundle.collecting import Collector
from atom.skills.bundle.limits import Limits
from atom.skills.bundle.models import Member
from atom.skills.errors import BundleError, BundleTooLargeError, shown
from atom.skills.layers.errors import LayerTooLargeError, WheelRefusedError
from atom.skills.layers.models import Package

BY_ITSELF = frozenset({"sitecustomize", "usercustomize"})  # modules that Python imports unasked
OF_NO_USE = re.compile(r"[^/]+\.dist-info/(RECORD(\.jws|\.p7s)?|INSTALLER|REQUESTED|direct_url\.json)")
MODULE = re.compile(r"([A-Za-z_]\w*)(\.py|\.pyc|(\.[\w-]+)*\.so)?")
LIBRARIES = {"purelib", "platlib"}
MOST_METADATA = 1 << 20
FEW = 50  # names of files that were left out


@dataclass(frozen=True, slots=True)
class Wheel:
    """One that was read whole and found good. `needs` are its Requires-Dist; `files` have sizes in bytes."""

    path: Path
    sha256: str
    name: NormalizedName
    version: Version
    needs: tuple[Requirement, ...]
    files: Mapping[str, int]
    left_out: tuple[str, ...] = ()

    @property
    def package(self) -> Package:
        return Package(self.name, str(self.version), self.path.name, self.sha256, modules_of(self.files))


@dataclass(slots=True)
class _Sorted:
    files: dict[str, Member] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def read_wheel(path: Path, most_bytes: int, most_files: int) -> Wheel:
    """Raises WheelRefusedError, LayerTooLargeError."""
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise WheelRefusedError("This is no name of a wheel.", problem="name", wheel=path.name) from error
    data = _data(path, most_bytes)
    members = _members(path.name, data, most_bytes, most_files)
    metadata = _metadata(path.name, members, name, version)
    found = _sorted(path.name, members)
    digest = hashlib.sha256(data).hexdigest()
    sizes = {placed: len(member.data) for placed, member in found.files.items()}
    return Wheel(path, digest, name, version, _needs(path.name, metadata), sizes, tuple(found.left_out[:FEW]))


def files_of(wheel: Wheel, most_bytes: int, most_files: int) -> Mapping[str, Member]:
    """Its files by their path in the layer. Raises as `read_wheel` does."""
    return _sorted(
        wheel.path.name, _members(wheel.path.name, _data(wheel.path, most_bytes), most_bytes, most_files)
    ).files


def _data(path: Path, most_bytes: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise LayerTooLargeError(f"more than {most_bytes} bytes: {shown(path.name)} alone")
    return data


def modules_of(paths: Iterable[str]) -> tuple[str, ...]:
    """What a program can import of these files."""
    found = set()
    for path in paths:
        first, _, rest = path.partition("/")
        match = MODULE.fullmatch(first)
        if match is not None and (rest.endswith((".py", ".so", ".pyc")) if not match[2] else not rest):
            found.add(match[1])
    return tuple(sorted(found))


def _members(wheel: str, data: bytes, most_bytes: int, most_files: int) -> Mapping[str, Member]:
    limits = Limits(files=most_files, members=2 * most_files, unpacked_bytes=most_bytes, packed_bytes=most_bytes)
    into = Collector(limits, packed=len(data))
    try:
        zips.collect(data, into)
    except BundleTooLargeError as error:
        if error.problem in {"too_many_files", "too_many_bytes"}:
            raise LayerTooLargeError(f"more than {most_bytes} bytes or {most_files} files: {shown(wheel)}") from error
        raise _refused(wheel, error) from error
    except BundleError as error:
        raise _refused(wheel, error) from error
    return into.files


def _refused(wheel: str, error: BundleError) -> WheelRefusedError:
    return WheelRefusedError(error.message, problem=error.problem, wheel=wheel)


def _metadata(wheel: str, members: Mapping[str, Member], name: str, version: Version) -> bytes:
    """That of its one dist-info folder, which has to be about the package that the file's name says."""
    folders = {path.partition("/")[0] for path in members if path.partition("/")[0].endswith(".dist-info")}
    folder = folders.pop() if len(folders) == 1 else ""
    said, _, number = folder.removesuffix(".dist-info").rpartition("-")
    member = members.get(f"{folder}/METADATA")
    if canonicalize_name(said) != name or canonicalize_version(number) != canonicalize_version(version):
        raise WheelRefusedError("It is not the package that its name says.", problem="dist_info", wheel=wheel)
    if member is None or len(member.data) > MOST_METADATA:
        raise WheelRefusedError("It has no METADATA that can be read.", problem="metadata", wheel=wheel)
    return member.data


def _needs(wheel: str, metadata: bytes) -> tuple[Requirement, ...]:
    raw, _ = parse_email(metadata)
    try:
        found = tuple(Requirement(one) for one in raw.get("requires_dist", []))
    except InvalidRequirement as error:
        raise WheelRefusedError("What it needs cannot be read.", problem="metadata", wheel=wheel) from error
    addressed = next((one for one in found if one.url), None)
    if addressed is not None:
        raise WheelRefusedError(
            f"It needs {shown(addressed.name)} from an address: nothing is fetched from one.",
            problem="address",
            wheel=wheel,
        )
    return found


def _sorted(wheel: str, members: Mapping[str, Member]) -> _Sorted:
    found = _Sorted()
    for path, member in members.items():
        if OF_NO_USE.fullmatch(path):
            continue
        placed = _placed(path)
        if placed is None:
            found.left_out.append(path)
        elif placed in found.files:
            raise WheelRefusedError("It is there twice.", problem="duplicate_name", wheel=wheel, member=placed)
        else:
            found.files[placed] = member
    return found


def _placed(path: str) -> str | None:
    """Where it goes in the layer; None where it is left out: what runs by itself, programs, headers."""
    parts = path.split("/")
    if parts[0].endswith(".data"):
        if len(parts) < 3 or parts[1] not in LIBRARIES:
            return None
        parts = parts[2:]
    placed = "/".join(parts)
    if len(parts) == 1 and placed.lower().endswith(".pth"):
        return None
    return None if parts[0].split(".")[0] in BY_ITSELF else placed
