"""Files that the texts of a bundle name, and that are not in it."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from atom.skills.bundle.models import Bundle, Form
from atom.skills.errors import shown
from atom.skills.findings import Finding, Place, Rule, Severity
from atom.skills.lines import Lines
from atom.skills.manifest.models import Reading
from atom.skills.validation.texts import text_of

MOST = 100  # of a file
# `](target` of a link or picture, `[x]: target`, and paths below the specification's folders. Each begins at a rare
# character and is bounded, so that a hostile text costs no more than its length.
LINK = re.compile(r"\]\(\s{0,4}<?([^)\s>]{1,300})")
DEFINITION = re.compile(r"^ {0,3}\[[^\]\n]{1,100}\]:[ \t]{1,4}(\S{1,300})", re.MULTILINE)
FOLDERS = "scripts|references|assets"
PATH = re.compile(
    rf"(?:(?<![\w/.~}}>$:@%-])|(?<=\{{baseDir\}}/)|(?<=SKILL_DIR\}}/))(?:\./)?((?:{FOLDERS})/[\w./-]{{1,200}})(?![\w<{{*$\[])"
)
FENCED = re.compile(r"^ {0,3}(```+|~~~+).*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
PLACEHOLDER = re.compile(r"[<>{}$*|\\]|\.\.\.|\bpath/to\b|\byour[-_]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Named:
    target: str
    offset: int


def check(bundle: Bundle, reading: Reading) -> Iterator[Finding]:
    texts = {bundle.manifest: reading.text}
    for path, member in bundle.files.items():
        if path.lower().endswith((".md", ".markdown")) and path != bundle.manifest:
            texts[path] = text_of(path, member.data) or ""
    if bundle.form is Form.FILE:
        yield from _unchecked(bundle, reading)
        return
    known = {*bundle.files, *(folder for path in bundle.files for folder in _parents(path))}
    for path, text in texts.items():
        yield from _check_text(path, text, known, paths=path == bundle.manifest)


def _check_text(file: str, text: str, known: set[str], *, paths: bool) -> Iterator[Finding]:
    lines = Lines.of(text)
    seen: set[str] = set()
    for named in _named(text, paths=paths):
        if named.target in seen or len(seen) >= MOST:
            continue
        seen.add(named.target)
        place = Place(file, *lines.place(named.offset))
        here = posixpath.normpath(posixpath.join(posixpath.dirname(file), named.target))
        if named.target.startswith("/") or here.startswith(".."):
            yield Finding(Rule.REFERENCE_OUTSIDE, Severity.WARNING, place,
                          f"{shown(named.target)} is outside the bundle.", "Put the file into the bundle.")  # fmt: skip
        elif here not in known and posixpath.normpath(named.target) not in known:
            yield Finding(Rule.REFERENCE_MISSING, Severity.WARNING, place,
                          f"{shown(named.target)} is not in the bundle.",
                          "Add the file, or correct its path.")  # fmt: skip


def _named(text: str, *, paths: bool) -> Iterator[_Named]:
    """Relative paths in the order of the text; links count outside of code, paths everywhere."""
    found = [_Named(match[1], match.start(1)) for match in PATH.finditer(text)] if paths else []
    prose = FENCED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for pattern in (LINK, DEFINITION):
        found += [_Named(match[1], match.start(1)) for match in pattern.finditer(prose)]
    for named in sorted(found, key=lambda one: one.offset):
        target = _target(named.target)
        if target is not None:
            yield _Named(target, named.offset)


def _target(written: str) -> str | None:
    """The path that is meant; None for addresses, places in the same text, and what stands for something else."""
    if SCHEME.match(written) or PLACEHOLDER.search(written):
        return None
    path = unquote(re.split(r"[#?]", written, maxsplit=1)[0]).rstrip(".,:;'\"`")
    if "\0" in path or not path.strip("/."):
        return None
    return path if posixpath.splitext(path.rstrip("/"))[1] or path.endswith("/") else None


def _unchecked(bundle: Bundle, reading: Reading) -> Iterator[Finding]:
    count = len({named.target for named in _named(reading.text, paths=True)})
    if count:
        yield Finding(Rule.REFERENCE_UNCHECKED, Severity.INFO, Place(bundle.manifest),
                      f"It names {count} files; what lies beside a single SKILL.md is not read.",
                      "Give the folder.")  # fmt: skip


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path
