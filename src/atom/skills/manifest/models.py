"""What a SKILL.md says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atom.skills.findings import Finding, Place


@dataclass(frozen=True, slots=True)
class Manifest:
    """`name` is empty when neither the file nor its folder gives one; `description` is the
    first paragraph when the file gives none (there is an error then).

    `fields` are those the specification does not know. `places` are those of the top-level keys. `body` are the
    instructions; they begin on line `body_line`.
    """

    name: str
    description: str
    body: str
    body_line: int
    license: str | None = None
    compatibility: str | None = None
    allowed_tools: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """A manifest, and everything that is to be said of how it was read."""

    manifest: Manifest
    findings: tuple[Finding, ...]
    text: str
