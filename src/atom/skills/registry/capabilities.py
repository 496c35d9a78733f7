"""What a skill says that it needs (`metadata.atom`) and what the scan saw, so that people consent to exactly that."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atom.governance.models import Risk
from atom.kit.text import canonical_json, clean_json, shorten
from atom.skills.findings import Severity
from atom.skills.scan.declared import read
from atom.skills.scan.models import Kind, Scan

KEY = "atom"
VALUE = "declared"  # where what stands below `metadata.atom` is no mapping
SEEN = "seen"  # what the scan saw: nobody declares that
SHOWN = 1000
ACTIVE = (Kind.NETWORK, Kind.COMMAND, Kind.WRITE, Kind.DYNAMIC)
PLAIN = re.compile(r"[\w-]+")
RISKS: Mapping[str, Risk] = {**{one.name.lower(): one for one in Risk}, **{str(one.value): one for one in Risk}}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`digest` is `sha256:<hex>` over the canonical JSON of `value`.

    `risk`: critical, where none is declared; never below what the scan saw.
    """

    value: dict[str, Any]
    digest: str
    risk: Risk


def declared(metadata: Mapping[str, Any]) -> Capabilities:
    """Of a manifest's metadata. Nothing declared is an empty mapping."""
    found = clean_json(metadata.get(KEY))
    value: dict[str, Any] = found if isinstance(found, dict) else {} if found in (None, "") else {VALUE: found}
    return _made(value, RISKS.get(str(value.get("risk")).strip().lower(), Risk.CRITICAL))


def hosts_of(capabilities: Mapping[str, Any]) -> tuple[str, ...]:
    """Hosts that are declared, of a row's capabilities; words that cannot be one open nothing."""
    said = {key: value for key, value in capabilities.items() if key != SEEN}
    return tuple(sorted(one for one in read({KEY: said}).values.get("hosts", ()) if "." in one))


def together(metadata: Mapping[str, Any], scan: Scan) -> Capabilities:
    """What is declared, and below `seen` what the scan saw; who declares that name finds it below `declared`."""
    said = declared(metadata)
    value = {VALUE: said.value} if SEEN in said.value else dict(said.value)
    seen = clean_json(scan.seen.plain())
    return _made({**value, SEEN: seen} if seen else value, max(said.risk, lowest(scan)))


def lowest(scan: Scan) -> Risk:
    """The risk that a skill has at least, whatever it declares."""
    if scan.worst is Severity.ERROR:
        return Risk.CRITICAL
    if scan.worst is Severity.WARNING:
        return Risk.HIGH
    return Risk.MODERATE if any(scan.seen.code.get(kind) for kind in ACTIVE) else Risk.LOW


def _made(value: dict[str, Any], risk: Risk) -> Capabilities:
    digest = hashlib.sha256(canonical_json(value).encode()).hexdigest()
    return Capabilities(value, f"sha256:{digest}", risk)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Lines `- path: value` and `+ path: value`, by path; empty only when both say the same."""
    old, new = dict(_flat(before)), dict(_flat(after))
    lines: list[str] = []
    for path in sorted({*old, *new}):
        if old.get(path) != new.get(path):
            lines += [f"- {path}: {shorten(old[path], SHOWN)}"] if path in old else []
            lines += [f"+ {path}: {shorten(new[path], SHOWN)}"] if path in new else []
    return lines


def file_difference(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines `- path`, `+ path` and `~ path` (other bytes, or another executable bit), by path."""
    old = {one["path"]: (one["sha256"], one["executable"]) for one in before}
    new = {one["path"]: (one["sha256"], one["executable"]) for one in after}
    marks = {path: "~" if path in old and path in new else "+" if path in new else "-" for path in {*old, *new}}
    return [f"{marks[path]} {path}" for path in sorted(marks) if old.get(path) != new.get(path)]


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Paths of one spelling each: a key with a dot in it is quoted."""
    for key, inner in value.items():
        path = above + (key if PLAIN.fullmatch(key) else canonical_json(key))
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{path}.")
        else:
            yield path, canonical_json(inner)
