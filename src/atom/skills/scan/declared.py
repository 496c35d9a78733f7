"""What a skill declares below `metadata.atom`, compared with what it does."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from atom.kit.text import clean_json
from atom.skills.findings import Finding, Place, Rule, Severity
from atom.skills.scan import packages, places
from atom.skills.scan.models import UNKNOWN, Kind, Seen

KEY = "atom"
MOST = 500
KEYS: Mapping[str, str] = {  # of a declaration: each kind in the words that authors use
    "hosts": "hosts", "network": "hosts", "domains": "hosts", "egress": "hosts",
    "commands": "commands", "command": "commands", "subprocess": "commands", "bins": "commands",
    "binaries": "commands", "programs": "commands",
    "env": "env", "environment": "env", "secrets": "env", "variables": "env",
    "paths": "paths", "files": "paths", "filesystem": "paths", "reads": "paths", "writes": "paths",
    "packages": "packages", "dependencies": "packages", "requirements": "packages",
}  # fmt: skip
KINDS: Mapping[str, Sequence[Kind]] = {
    "hosts": (Kind.NETWORK,), "commands": (Kind.COMMAND,), "env": (Kind.ENV,), "paths": (Kind.READ, Kind.WRITE),
    "packages": (Kind.PACKAGE,),
}  # fmt: skip
LISTED = re.compile(r"[,\s]+")


@dataclass(frozen=True, slots=True)
class Declaration:
    """`values` by key of `KINDS`. `there`: anything is declared at all, be it that nothing is needed."""

    values: Mapping[str, frozenset[str]]
    there: bool


def read(metadata: Mapping[str, Any]) -> Declaration:
    found = clean_json(metadata.get(KEY))
    values: dict[str, set[str]] = {}
    for key, value in found.items() if isinstance(found, dict) else ():
        name = KEYS.get(str(key).strip().lower().replace("-", "_"))
        if name is not None:
            values.setdefault(name, set()).update(_words(value))
    return Declaration(
        {name: frozenset(words) for name, words in values.items()}, isinstance(found, dict) and bool(found)
    )


def compared(
    declaration: Declaration, seen: Seen, at: Mapping[tuple[Kind, str], Place], manifest: str
) -> Iterator[Finding]:
    """Warnings for what scripts do and nobody declared; infos for the rest. Nothing where nothing is declared."""
    if not declaration.there:
        return
    for name, kinds in KINDS.items():
        allowed = declaration.values.get(name, frozenset())
        used: set[str] = set()
        for kind in kinds:
            for value in seen.code.get(kind, ()):
                matched = {one for one in allowed if _covers(name, one, value)}
                used |= matched
                if not matched:
                    yield _undeclared(name, value, at.get((kind, value), Place(manifest)), Severity.WARNING)
            for value in seen.instructions.get(kind, ()):
                matched = {one for one in allowed if _covers(name, one, value)}
                used |= matched
                if not matched and value != UNKNOWN and value not in seen.code.get(kind, ()):
                    yield _undeclared(name, value, at.get((kind, value), Place(manifest)), Severity.INFO)
        for one in sorted(allowed - used):
            yield Finding(Rule.SCAN_UNUSED, Severity.INFO, Place(manifest),
            f"metadata.{KEY}.{name} declares {one!r}; nothing that was read uses it.",
                          "Take it out unless it is needed.")  # fmt: skip


def _undeclared(name: str, value: str, place: Place, severity: Severity) -> Finding:
    what = f"something that is known only when it runs ({name})" if value == UNKNOWN else f"{value!r} ({name})"
    fix = f"Declare it below metadata.{KEY}.{name}, or do without it."
    return Finding(
        Rule.SCAN_UNDECLARED, severity, place, f"It uses {what}, which metadata.{KEY} does not declare.", fix
    )


def _covers(name: str, declared: str, value: str) -> bool:
    if declared in {"*", "any", "all"}:
        return True
    if name == "hosts":
        host = (places.hosts(declared) or [places.host_of(declared)])[0]
        return host == value or (host.startswith("*.") and value.endswith(host[1:]))
    if name == "packages":
        system, _, bare = value.partition(":")
        said = declared.removeprefix(f"{system}:")
        return (packages.bare(said, system) or said) == bare
    if name == "paths":
        path = places.normal(declared)
        return fnmatchcase(places.normal(value), path) or f"{places.normal(value)}/".startswith(f"{path.rstrip('/*')}/")
    return declared == value


def _words(value: Any) -> Iterable[str]:
    """Of a list, a text with commas, or a mapping (its keys; lists below `hosts`, `read` and such are looked into)."""
    if isinstance(value, str):
        return [word for word in LISTED.split(value) if word and word.lower() not in {"none", "false", "no"}][:MOST]
    if isinstance(value, Mapping):
        inner = [word for one in value.values() if isinstance(one, list | tuple | str) for word in _words(one)]
        nested = any(isinstance(one, list) for one in value.values())
        return inner[:MOST] if nested else [str(key) for key in value][:MOST]
    if isinstance(value, list | tuple):
        return [
            word
            for one in value[:MOST]
            for word in ([one] if isinstance(one, str) else _words(one) if isinstance(one, Mapping) else [])
        ]
    return []
