"""What is wanted, for which Python, and what was installed for it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from atom.kit.text import canonical_json

MOST_REQUIREMENTS = 64
LAYOUT = 1  # counts up when the same wheels would make another layer


@dataclass(frozen=True, slots=True)
class Declared:
    """One requirement and where it stands. `text` has one spelling; `hashes` (SHA-256, hex): its wheel is one of them.

    `extras` and `specifier` stay in `text`; `name` is the canonical name of the package.
    """

    text: str
    name: str
    file: str
    line: int
    hashes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The requirements of one program: those of its skill and its own. `python`: versions that it says it runs on."""

    requirements: tuple[Declared, ...] = ()
    python: str = ""

    def __bool__(self) -> bool:
        return bool(self.requirements)

    @property
    def texts(self) -> tuple[str, ...]:
        """Each once, in order."""
        return tuple(sorted({one.text for one in self.requirements}))


@dataclass(frozen=True, slots=True)
class Target:
    """The Python that programs get. `version` as 3.11.2; `tag` as cp311; `markers` as PEP 508 names them.

    `platforms`: tags of wheels that its machine can load, the best first.
    """

    version: str
    tag: str
    platforms: tuple[str, ...]
    markers: Mapping[str, str] = field(default_factory=dict)

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True)
class Package:
    """An installed wheel. `sha256` is that of the file; `modules` are the names that a program can import."""

    name: str
    version: str
    file: str
    sha256: str
    modules: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "file": self.file,
            "sha256": self.sha256,
            "modules": list(self.modules),
        }


@dataclass(frozen=True, slots=True)
class Layer:
    """A folder of packages. `digest` is `sha256:<hex>` over its sorted paths and bytes; `size` in bytes.

    `left_out`: files of the wheels that would run by themselves, or are of no use here. `fresh`: built just now.
    """

    digest: str
    folder: Path
    packages: tuple[Package, ...]
    files: int
    size: int
    built_at: datetime
    left_out: tuple[str, ...] = ()
    fresh: bool = False

    def plain(self) -> dict[str, Any]:
        return {
            "digest": self.digest,
            "packages": [one.plain() for one in self.packages],
            "files": self.files,
            "size": self.size,
            "built_at": self.built_at.isoformat(),
            "left_out": list(self.left_out),
        }

    @classmethod
    def read(cls, value: Mapping[str, Any], folder: Path) -> "Layer":
        """What `plain` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        packages = tuple(Package(**{**one, "modules": tuple(one["modules"])}) for one in value["packages"])
        return cls(
            digest=str(value["digest"]),
            folder=folder,
            packages=packages,
            files=int(value["files"]),
            size=int(value["size"]),
            built_at=datetime.fromisoformat(value["built_at"]),
            left_out=tuple(value["left_out"]),
        )


def key_of(wanted: Wanted, target: Target) -> str:
    """64 hexadecimal digits: the same wish for the same Python. What it became is recorded under it."""
    hashes = sorted({(one.text, digest) for one in wanted.requirements for digest in one.hashes})
    wish = [LAYOUT, wanted.texts, hashes, wanted.python, target.tag, target.minor, target.platforms[:1]]
    return hashlib.sha256(canonical_json(wish).encode()).hexdigest()


def canonical(requirement: Requirement) -> str:
    """One spelling: name, extras in order, specifier, marker."""
    extras = f"[{','.join(sorted(map(canonicalize_name, requirement.extras)))}]" if requirement.extras else ""
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{canonicalize_name(requirement.name)}{extras}{_specifier(requirement)}{marker}"


def _specifier(requirement: Requirement) -> str:
    return ",".join(sorted(str(one) for one in requirement.specifier))
