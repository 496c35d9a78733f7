"""Which files of a skill can be run, and with what. Pure."""

import posixpath
from collections.abc import Iterable, Mapping

from atom.kit.text import shorten
from atom.skills.execution.errors import ScriptUnknownError
from atom.skills.sandbox.models import Language

FOLDER = "scripts/"
LANGUAGES: Mapping[str, Language] = {
    ".py": Language.PYTHON,
    ".sh": Language.BASH,
    ".bash": Language.BASH,
    ".js": Language.NODE,
    ".mjs": Language.NODE,
    ".cjs": Language.NODE,
}
MOST_NAMED = 10


def language_of(path: str) -> Language | None:
    return LANGUAGES.get(posixpath.splitext(path)[1].lower())


def scripts_of(paths: Iterable[str]) -> list[str]:
    """Those below `scripts/` first."""
    found = [path for path in paths if language_of(path) is not None]
    return sorted(found, key=lambda path: (not path.startswith(FOLDER), path))


def pick(paths: Iterable[str], wanted: str) -> str:
    """The path of a script by its path, or by its name where it is the only one; the only script for "".

    Raises ScriptUnknownError.
    """
    every = scripts_of(paths)
    if wanted in every:
        return wanted
    named = every if not wanted else [path for path in every if path == f"{FOLDER}{wanted}"]
    named = named or [path for path in every if posixpath.basename(path) == wanted]
    if len(named) == 1:
        return named[0]
    there = ", ".join(every[:MOST_NAMED]) + (", ..." if len(every) > MOST_NAMED else "")
    if not every:
        raise ScriptUnknownError("The skill has no script: it is a text to read.", field="script")
    what = f"script: there is no {shorten(wanted, 200)!r}." if wanted else "script: there are several."
    raise ScriptUnknownError(what, hint=f"There are: {there}.", field="script")
