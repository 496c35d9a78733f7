"""What of a report becomes a version's row."""

import hashlib
from typing import Any

from atom.kit.text import clean, clean_json
from atom.skills.bundle.models import Bundle
from atom.skills.findings import Severity, in_order
from atom.skills.manifest.fields import LONGEST_NAME
from atom.skills.manifest.models import Manifest
from atom.skills.registry.capabilities import together
from atom.skills.registry.errors import SkillNameInvalidError
from atom.skills.registry.packing import pack
from atom.skills.scan.models import Scan
from atom.skills.validation.service import Report

MOST_FINDINGS = 1000
RESERVED = frozenset({"lock"})  # GET /api/skills/lock is the lock file


def checked_name(report: Report) -> str:
    """Raises SkillNameInvalidError."""
    name = report.manifest.name
    if not name:
        raise SkillNameInvalidError("The skill has no name.", hint="Write `name:` into its SKILL.md.", field="name")
    if len(name) > LONGEST_NAME or name in RESERVED:
        what = f"longer than {LONGEST_NAME} characters" if name not in RESERVED else "kept for the lock file"
        raise SkillNameInvalidError(f"The name of the skill is {what}.", hint="Give it another one.", field="name")
    return name


def row_of(report: Report, scan: Scan) -> dict[str, Any]:
    """Everything that the content decides. Costs time: a bundle of 20 MB is packed."""
    packed, found = pack(report.bundle), together(report.manifest.metadata, scan)
    findings = in_order([*report.findings, *scan.findings])
    blocking = [one for one in findings if one.severity is Severity.ERROR and not one.mended]
    others = [one for one in findings if not (one.severity is Severity.ERROR and not one.mended)]
    kept = {id(one) for one in [*blocking, *others][:MOST_FINDINGS]}
    return {
        "digest": report.bundle.digest,
        "body": packed.body,
        "body_sha256": packed.sha256,
        "unpacked": packed.unpacked,
        "form": report.bundle.form.value,
        "manifest": report.bundle.manifest,
        "files": files_of(report.bundle),
        "description": clean(report.manifest.description),
        "frontmatter": clean_json(frontmatter(report.manifest)),
        "findings": clean_json([one.plain() for one in findings if id(one) in kept]),
        "counts": {name: count + scan.counts[name] for name, count in report.counts.items()},
        "blocking": len(blocking),
        "capabilities": found.value,
        "capabilities_digest": found.digest,
        "risk": found.risk.value,
    }


def files_of(bundle: Bundle) -> list[dict[str, Any]]:
    return [
        {
            "path": path,
            "bytes": len(member.data),
            "executable": member.executable,
            "sha256": hashlib.sha256(member.data).hexdigest(),
        }
        for path, member in bundle.files.items()
    ]


def frontmatter(manifest: Manifest) -> dict[str, Any]:
    """As it was read: what the file does not say is left out."""
    values = {
        "name": manifest.name,
        "description": manifest.description,
        "license": manifest.license,
        "compatibility": manifest.compatibility,
        "allowed-tools": manifest.allowed_tools,
        "metadata": dict(manifest.metadata) or None,
    }
    return {key: value for key, value in values.items() if value is not None} | dict(manifest.fields)
