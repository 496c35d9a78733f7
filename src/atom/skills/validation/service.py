"""The verdict on a bundle."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from atom.skills.bundle.models import Bundle
from atom.skills.findings import Finding, Place, Rule, Severity, in_order
from atom.skills.manifest.models import Manifest
from atom.skills.manifest.reading import read
from atom.skills.ports import Grammars
from atom.skills.validation import characters, references, scripts


@dataclass(frozen=True, slots=True)
class Report:
    """`findings` are in the order of files and places."""

    bundle: Bundle
    manifest: Manifest
    findings: tuple[Finding, ...]

    @property
    def valid(self) -> bool:
        """By the specification, and open to review: no error."""
        return not any(one.severity is Severity.ERROR for one in self.findings)

    @property
    def approvable(self) -> bool:
        """No error is left that importing does not mend."""
        return not any(one.severity is Severity.ERROR and not one.mended for one in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(one.severity.value for one in self.findings)
        return {severity.value: found[severity.value] for severity in Severity}

    def plain(self) -> dict[str, Any]:
        return {
            "valid": self.valid,
            "approvable": self.approvable,
            "name": self.manifest.name,
            "description": self.manifest.description,
            "form": self.bundle.form.value,
            "digest": self.bundle.digest,
            "files": len(self.bundle.files),
            "bytes": self.bundle.size,
            "counts": self.counts,
            "findings": [one.plain() for one in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Validator:
    """Looks at every file of a bundle. It executes nothing, imports nothing and asks no network."""

    grammars: Grammars

    def validate(self, bundle: Bundle) -> Report:
        """Raises ManifestUnreadableError when nothing in the SKILL.md can be understood."""
        reading = read(bundle)
        findings = [
            *reading.findings,
            *_left_out(bundle),
            *characters.check(bundle),
            *references.check(bundle, reading),
            *scripts.check(bundle, self.grammars),
        ]
        return Report(bundle, reading.manifest, in_order(findings))


def _left_out(bundle: Bundle) -> list[Finding]:
    if not bundle.left_out:
        return []
    message = f"No part of the skill: {', '.join(bundle.left_out[:5])}{', ...' if len(bundle.left_out) > 5 else ''}."
    return [Finding(Rule.FILES_LEFT_OUT, Severity.INFO, Place(bundle.manifest), message, "Leave it out when packing.")]
