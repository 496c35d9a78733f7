"""What a bundle declares: `# /// script` blocks of its Python scripts, and requirements.txt. Nothing is looked up."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from atom.skills.bundle.models import Bundle
from atom.skills.errors import shown
from atom.skills.layers.blocks import Block, blocks
from atom.skills.layers.errors import DependencyRefusedError
from atom.skills.layers.models import MOST_REQUIREMENTS, Declared, Wanted, canonical
from atom.skills.ports import Language
from atom.skills.validation.scripts import language_of

REQUIREMENTS = ("requirements.txt", "scripts/requirements.txt")
SCRIPT = "script"
MOST_BYTES = 64 * 1024  # of one declaration
LONGEST = 500
HASH = re.compile(r"--hash[= ]sha256:([0-9a-fA-F]{64})")
OPTION = re.compile(r"(--?[A-Za-z][\w-]*)")
LONG_OPTION = re.compile(r"\s(--[A-Za-z][\w-]*)")
COMMENT = re.compile(r"(^|\s)#.*$")
PATH = re.compile(
    r"^(\.{0,2}/|\.{1,2}$|~|[A-Za-z]:[\\/])|\.(whl|zip|tar|tgz|gz|bz2|egg)(\[|\s|$|;)|^[^\[<>=!~;@]*[/\\]"
)
ADDRESS = re.compile(r"^(\w+\+)?\w+://|^git@|^file:")
ELSEWHERE = ("index", "extra-index", "find-", "no-index", "sources", "pip")  # how keys of [tool.uv] begin
FIX = "Declare it as name==version; the operator's wheel folder or index has to have it."


@dataclass(frozen=True, slots=True)
class Declarations:
    """`skill` is for every program of the bundle; `scripts` has, by path, what one of them wants besides."""

    skill: tuple[Declared, ...]
    scripts: Mapping[str, Wanted]

    def of(self, script: str) -> Wanted:
        """All that one program wants."""
        own = self.scripts.get(script, Wanted())
        return Wanted((*self.skill, *own.requirements), own.python)

    def sets(self) -> list[tuple[Wanted, list[str]]]:
        """Each set of requirements that some program wants, with their paths (empty: every other program)."""
        found: dict[tuple[object, ...], tuple[Wanted, list[str]]] = {}
        if self.skill:
            general = self.of("")
            found[general.texts, general.python] = (general, [])
        for path in self.scripts:
            wanted = self.of(path)
            if wanted:
                found.setdefault((wanted.texts, wanted.python), (wanted, []))[1].append(path)
        return list(found.values())


def declared(bundle: Bundle) -> Declarations:
    """Raises DependencyRefusedError for what is never installed: addresses, paths, options, more than 64."""
    skill: list[Declared] = []
    for path in REQUIREMENTS:
        if path in bundle.files:
            skill += _listed(path, _text(path, bundle.files[path].data))
    scripts: dict[str, Wanted] = {}
    for path, member in bundle.files.items():
        if language_of(path, member) is Language.PYTHON:
            wanted = of_script(path, member.data)
            if wanted is not None:
                scripts[path] = wanted
    every = [*skill, *(one for wanted in scripts.values() for one in wanted.requirements)]
    if len({one.text for one in every}) > MOST_REQUIREMENTS:
        last = every[-1]
        raise _too_many(last.file, last.line)
    return Declarations(tuple(skill), scripts)


def of_script(path: str, data: bytes) -> Wanted | None:
    """What the script itself declares; None where it has no such block. Raises DependencyRefusedError."""
    text = data.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    found = [block for block in blocks(text) if block.kind == SCRIPT]
    if not found:
        return None
    if len(found) > 1:
        raise _refused("It has more than one block `# /// script`.", "doubled", "Keep one.", path, found[1].line)
    block = found[0]
    if len(block.content) > MOST_BYTES:
        raise _refused("The block `# /// script` has more than 64 KB.", "too_large", "Shorten it.", path, block.line)
    try:
        value = tomllib.loads(block.content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _refused(f"The block is no TOML: {shown(str(error))}", "toml", "Correct it.", path, block.line) from error
    return _wanted(path, block, value)


def _wanted(path: str, block: Block, value: Mapping[str, Any]) -> Wanted:
    dependencies, python = value.get("dependencies", []), value.get("requires-python", "")
    if not isinstance(dependencies, list) or not all(isinstance(one, str) for one in dependencies):
        raise _refused("`dependencies` is no list of texts.", "shape", 'Write ["name"].', path, block.line)
    if len(dependencies) > MOST_REQUIREMENTS:
        raise _too_many(path, block.line)
    try:
        if not isinstance(python, str):
            raise InvalidSpecifier("no text")
        SpecifierSet(python)
    except InvalidSpecifier as error:
        line = _line(block, "requires-python")
        raise _refused("`requires-python` says no versions.", "python", 'Write ">=3.11".', path, line) from error
    _check_tools(path, block, value.get("tool"))
    return Wanted(tuple(_one(one, path, _line(block, one)) for one in dependencies), python)


def _check_tools(path: str, block: Block, tool: object) -> None:
    """Tables of tools are not ours, but what would take packages from elsewhere is not passed over in silence."""
    for name in ("uv", "pip"):
        table = tool.get(name) if isinstance(tool, dict) else None
        for key in table if isinstance(table, dict) else ():
            if key.startswith(ELSEWHERE):
                raise _elsewhere(f"`tool.{name}.{key}`", path, _line(block, f"{name}.{key}", key))


def _line(block: Block, *wanted: str) -> int:
    """Of the first of these texts that is found; else of the opening."""
    lines = block.content.split("\n")
    for text in wanted:
        for number, line in enumerate(lines):
            if text in line:
                return block.line + 1 + number
    return block.line


def _listed(path: str, text: str) -> Iterator[Declared]:
    for count, (line, entry) in enumerate(_entries(text)):
        if count >= MOST_REQUIREMENTS:
            raise _too_many(path, line)
        hashes = frozenset(found.lower() for found in HASH.findall(entry))
        yield _one(HASH.sub("", entry), path, line, hashes)


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Lines with something in them, joined where a backslash says so; with the number of the first (from 1)."""
    entry, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        first = first or number
        if line.endswith("\\"):
            entry += line[:-1] + " "
            continue
        entry = COMMENT.sub("", entry + line).strip()
        if entry:
            yield first, entry
        entry, first = "", 0
    if entry.strip():
        yield first, COMMENT.sub("", entry).strip()


def _one(text: str, file: str, line: int, hashes: frozenset[str] = frozenset()) -> Declared:
    text = text.strip()
    if len(text) > LONGEST:
        raise _refused(f"A requirement of more than {LONGEST} characters.", "too_large", "Shorten it.", file, line)
    option = OPTION.match(text) or LONG_OPTION.search(text)
    if option is not None:
        raise _elsewhere(option[1], file, line)
    if "${" in text or "$(" in text or "`" in text:
        raise _refused(f"{shown(text)} names a variable: none is read.", "variable", FIX, file, line)
    if ADDRESS.search(text):
        raise _address(text, file, line)
    if " @ " not in f"{text} " and PATH.search(text):
        raise _refused(f"{shown(text)} is a path: packages come from the operator's source.", "path", FIX, file, line)
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, RecursionError) as error:
        raise _refused(f"{shown(text)} is no requirement.", "invalid", FIX, file, line) from error
    if requirement.url is not None:
        raise _address(text, file, line)
    return Declared(canonical(requirement), canonicalize_name(requirement.name), file, line, hashes)


def _text(path: str, data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise _refused("It has more than 64 KB.", "too_large", "Shorten it.", path, 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _refused("It is no UTF-8.", "encoding", "Save it as UTF-8.", path, line) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _address(text: str, file: str, line: int) -> DependencyRefusedError:
    return _refused(f"{shown(text)} names an address: nothing is fetched from it.", "address", FIX, file, line)


def _elsewhere(option: str, file: str, line: int) -> DependencyRefusedError:
    message = f"{shown(option)} would change where packages come from, or how: only the operator says that."
    return _refused(message, "option", "Leave it out. " + FIX, file, line)


def _too_many(file: str, line: int) -> DependencyRefusedError:
    message = f"More than {MOST_REQUIREMENTS} requirements."
    return _refused(message, "too_many", "Leave out what others bring with them.", file, line)


def _refused(message: str, problem: str, fix: str, file: str, line: int) -> DependencyRefusedError:
    return DependencyRefusedError(message, problem=problem, fix=fix, file=file, line=line)
