"""What is said of a bundle."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from atom.skills.errors import shown

MOST = 50  # of one rule in one file
LONGEST = 500


class Severity(StrEnum):
    """`error`: the specification is broken, nobody could review it, or it does what only an attack does.

    `warning` and `info` are for whoever writes the skill and, of a scan, for whoever approves it.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Rule(StrEnum):
    """Stable ids: scripts and documentation use them."""

    TEXT_BOM = "text-bom"
    TEXT_CRLF = "text-crlf"
    TEXT_NOT_UTF8 = "text-not-utf8"
    TEXT_UTF16 = "text-utf16"
    FRONTMATTER_CODE_BLOCK = "frontmatter-code-block"
    FRONTMATTER_DEEP = "frontmatter-deep"
    FRONTMATTER_FENCE = "frontmatter-fence"
    FRONTMATTER_LARGE = "frontmatter-large"
    FRONTMATTER_LEADING = "frontmatter-leading"
    FRONTMATTER_MISSING = "frontmatter-missing"
    FRONTMATTER_NOT_MAPPING = "frontmatter-not-mapping"
    FRONTMATTER_UNCLOSED = "frontmatter-unclosed"
    FRONTMATTER_UNFENCED = "frontmatter-unfenced"
    YAML_ALIAS = "yaml-alias"
    YAML_ALIAS_BOMB = "yaml-alias-bomb"
    YAML_DUPLICATE_KEY = "yaml-duplicate-key"
    YAML_FLOW = "yaml-flow"
    YAML_INDENT = "yaml-indent"
    YAML_QUOTING = "yaml-quoting"
    YAML_SPACE = "yaml-space"
    YAML_SYNTAX = "yaml-syntax"
    YAML_TAB = "yaml-tab"
    YAML_TAG = "yaml-tag"
    YAML_UNEVEN = "yaml-uneven"
    NAME_FOLDER = "name-folder"
    NAME_FORMAT = "name-format"
    NAME_LONG = "name-long"
    NAME_MISSING = "name-missing"
    DESCRIPTION_LONG = "description-long"
    DESCRIPTION_MISSING = "description-missing"
    COMPATIBILITY_LONG = "compatibility-long"
    FIELD_CASE = "field-case"
    FIELD_TYPE = "field-type"
    FIELD_UNKNOWN = "field-unknown"
    METADATA_VALUE = "metadata-value"
    TOOLS_FORMAT = "allowed-tools-format"
    BODY_EMPTY = "body-empty"
    BODY_LONG = "body-long"
    HIDDEN_BIDI = "hidden-bidi"
    HIDDEN_CONTROL = "hidden-control"
    HIDDEN_INVISIBLE = "hidden-invisible"
    MANIFEST_NAME = "manifest-name"
    FILES_LEFT_OUT = "files-left-out"
    REFERENCE_MISSING = "reference-missing"
    REFERENCE_OUTSIDE = "reference-outside"
    REFERENCE_UNCHECKED = "reference-unchecked"
    SCRIPT_COMPLEX = "script-complex"
    SCRIPT_ENCODING = "script-encoding"
    SCRIPT_LARGE = "script-large"
    SCRIPT_JAVASCRIPT = "script-javascript"
    SCRIPT_PYTHON = "script-python"
    SCRIPT_SHELL = "script-shell"
    SCAN_ADDRESS = "scan-address"
    SCAN_AGENT_FILES = "scan-agent-files"
    SCAN_BINARY = "scan-binary"
    SCAN_CAPABILITIES = "scan-capabilities"
    SCAN_CLOUD_METADATA = "scan-cloud-metadata"
    SCAN_COLLECTOR = "scan-collector"
    SCAN_CONCEALMENT = "scan-concealment"
    SCAN_CREDENTIALS = "scan-credentials"
    SCAN_DECODE_RUN = "scan-decode-run"
    SCAN_DESTRUCTIVE = "scan-destructive"
    SCAN_DOWNLOAD_RUN = "scan-download-run"
    SCAN_EXFILTRATION = "scan-exfiltration"
    SCAN_HIDDEN_TEXT = "scan-hidden-text"
    SCAN_INCOMPLETE = "scan-incomplete"
    SCAN_INJECTION = "scan-injection"
    SCAN_LEAK = "scan-leak"
    SCAN_OBFUSCATION = "scan-obfuscation"
    SCAN_PACKAGE_SOURCE = "scan-package-source"
    SCAN_PERSISTENCE = "scan-persistence"
    SCAN_PREREQUISITE = "scan-prerequisite"
    SCAN_REVERSE_SHELL = "scan-reverse-shell"
    SCAN_TYPOSQUAT = "scan-typosquat"
    SCAN_UNDECLARED = "scan-undeclared"
    SCAN_UNUSED = "scan-unused"


@dataclass(frozen=True, slots=True)
class Place:
    """`line` and `column` count from 1, the column in characters. Without `line` it is about the whole file."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True)
class Finding:
    """`mended`: the importer reads it without doubt as it was meant, so that it need not stand in the way.

    What `message` and `fix` quote of a bundle is made visible, whoever puts them together.
    """

    rule: Rule
    severity: Severity
    place: Place
    message: str
    fix: str
    mended: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", shown(self.message, LONGEST))
        object.__setattr__(self, "fix", shown(self.fix, LONGEST))

    def plain(self) -> dict[str, Any]:
        return {
            "id": self.rule.value,
            "severity": self.severity.value,
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "message": self.message,
            "fix": self.fix,
            "mended": self.mended,
        }


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """By file and place; of one rule in one file the first `MOST`, and a count of the rest."""
    kept: list[Finding] = []
    counts = Counter[tuple[Rule, str]]()
    for one in sorted(findings, key=lambda f: (f.place.file, f.place.line or 0, f.place.column or 0, f.rule)):
        counts[one.rule, one.place.file] += 1
        if counts[one.rule, one.place.file] <= MOST:
            kept.append(one)
        elif counts[one.rule, one.place.file] == MOST + 1:
            kept.append(
                replace(one, place=Place(one.place.file), message="There are more of these.", fix="Look for all.")
            )
    return tuple(kept)
