"""Which names the members of a bundle may have."""

import re
import unicodedata

from atom.skills.bundle.limits import Limits
from atom.skills.errors import ArchiveRefusedError, BundleTooLargeError
from atom.skills.hidden import is_hidden

DRIVE = re.compile(r"[A-Za-z]:")
LEFT_OUT_FOLDERS = frozenset({".git", ".hg", ".svn", "__MACOSX", "__pycache__"})
LEFT_OUT_FILES = frozenset({".DS_Store", "Thumbs.db"})


def normal(name: str, limits: Limits) -> str:
    """`name` as a relative path without `.` and empty components; empty for the folder itself.

    Raises ArchiveRefusedError for a name that could lead outside, or that does not show what it is.
    """
    _check_characters(name)
    if name.startswith("/") or DRIVE.match(name):
        raise ArchiveRefusedError(
            "The name is absolute: it could be written outside the bundle.",
            problem="absolute_name",
            fix="Pack the folder with relative names.",
            member=name,
        )
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ArchiveRefusedError(
            "The name leads out of the bundle ('..').",
            problem="parent_name",
            fix="Pack the folder itself, without '..' in names.",
            member=name,
        )
    _check_length(name, parts, limits)
    return "/".join(parts)


def folded(path: str) -> str:
    """What a file system that knows neither case nor forms of Unicode takes `path` for."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def is_left_out(path: str) -> bool:
    """Version control and what tools leave behind: no part of a skill, and never read as one."""
    *folders, name = path.split("/")
    return not LEFT_OUT_FOLDERS.isdisjoint(folders) or name in LEFT_OUT_FILES or name.startswith("._")


def _check_characters(name: str) -> None:
    if "\\" in name:
        raise ArchiveRefusedError(
            "The name has a backslash: some systems take it for a folder.",
            problem="backslash_name",
            fix="Pack it again with '/' between folders.",
            member=name,
        )
    if any(is_hidden(character) or "\ud800" <= character <= "\udfff" for character in name):
        raise ArchiveRefusedError(
            "The name has control, bidirectional or invisible characters, or is not UTF-8.",
            problem="hidden_characters_name",
            fix="Rename the file.",
            member=name,
        )
    if any("\t" <= character <= "\r" for character in name):
        raise ArchiveRefusedError(
            "The name has a tab or a line end.", problem="hidden_characters_name", fix="Rename the file.", member=name
        )


def _check_length(name: str, parts: list[str], limits: Limits) -> None:
    too_long = len(name.encode()) > limits.path_bytes or any(len(part.encode()) > limits.name_bytes for part in parts)
    if too_long or len(parts) > limits.depth:
        raise BundleTooLargeError(
            f"At most {limits.path_bytes} bytes, {limits.name_bytes} a part and {limits.depth} parts make a name.",
            problem="long_name",
            fix="Shorten it.",
            member=name,
        )
