"""A bundle: paths and bytes, in memory, never changed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MANIFEST = "SKILL.md"


class Form(StrEnum):
    """What a bundle was read from."""

    FILE = "file"  # one SKILL.md: what lies beside it is not known
    FOLDER = "folder"
    ZIP = "zip"
    TAR = "tar"


@dataclass(frozen=True, slots=True)
class Member:
    """One file. Of its mode only the executable bit counts: umasks and archivers differ in the rest."""

    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Bundle:
    """`files` is read-only and sorted by path (`/`-separated, relative, unique, also without regard to case).

    `folder` is the name of the folder the files were in, when it is known. `manifest` is the path of the SKILL.md.
    `left_out` are paths that are never part of a bundle (version control, caches of tools).
    """

    files: Mapping[str, Member]
    manifest: str
    form: Form
    folder: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes, unpacked."""
        return sum(len(member.data) for member in self.files.values())

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over the sorted paths, executable bits and bytes: the same however it was packed."""
        total = hashlib.sha256(b"atom skill bundle 1\n")
        for path, member in sorted(self.files.items()):
            name = path.encode()
            total.update(b"%d:%b %d %d:" % (len(name), name, member.executable, len(member.data)))
            total.update(member.data)
        return f"sha256:{total.hexdigest()}"
