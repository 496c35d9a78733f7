"""The fields of a frontmatter against the specification."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atom.skills.findings import Finding, Place, Rule, Severity
from atom.skills.manifest.tree import STRING, Node, Scalar, YamlList, YamlMap, plain

KNOWN = frozenset({"name", "description", "license", "compatibility", "metadata", "allowed-tools"})
LONGEST_NAME = 64
OWN = "atom"  # what Atom itself reads below `metadata`: a mapping
LONGEST_DESCRIPTION = 1024
LONGEST_COMPATIBILITY = 500
LISTED = re.compile(r"\s*,\s*(?![^()]*\))")  # a comma that is in no parentheses


@dataclass(slots=True)
class Fields:
    """The values as they are read, and what is wrong with them. `fallback` is the place of what is missing."""

    file: str
    nodes: dict[str, tuple[Place, Node]]
    fallback: Place
    findings: list[Finding] = field(default_factory=list)

    def check(self, folder: str | None) -> dict[str, Any]:
        """Values by field. `folder` is the name of the folder, when it is known."""
        self._respell()
        unknown = {key: plain(node) for key, (_, node) in self.nodes.items() if key not in KNOWN}
        for key in unknown:
            self._say(Rule.FIELD_UNKNOWN, key, f"The specification has no field {key[:60]!r}.",
                      "Move it below metadata.", mended=True)  # fmt: skip
        return {
            "name": self._name(folder),
            "description": self._description(),
            "license": self._text("license"),
            "compatibility": self._compatibility(),
            "allowed_tools": self._tools(),
            "metadata": self._metadata(),
            "fields": unknown,
        }

    def _respell(self) -> None:
        """`Name` and `allowed_tools` are what they seem to be, where the right one is not there."""
        for key in [key for key in self.nodes if key not in KNOWN]:
            meant = re.sub(r"(?<=[a-z])(?=T)|_", "-", key).lower()
            if meant in KNOWN and meant not in self.nodes:
                self._say(Rule.FIELD_CASE, key, f"The field is written {meant!r}.", f"Write `{meant}:`.", mended=True)
                self.nodes[meant] = self.nodes.pop(key)

    def _name(self, folder: str | None) -> str:
        written = self._text("name", required=True)
        if not written:
            slug = slugged(folder or "")
            self._say(Rule.NAME_MISSING, "name", "There is no name.", f"Add `name: {slug or 'my-skill'}`.",
                      mended=bool(slug))  # fmt: skip
            return slug
        name = unicodedata.normalize("NFKC", written)
        if len(name) > LONGEST_NAME:
            self._say(Rule.NAME_LONG, "name", f"The name has {len(name)} characters; {LONGEST_NAME} are allowed.",
                      "Shorten it.")  # fmt: skip
        problem = name_problem(name)
        slug = slugged(name) if problem else name
        if problem:
            self._say(Rule.NAME_FORMAT, "name", f"The name {name[:LONGEST_NAME]!r} {problem}.",
                      f"Write `name: {slug or 'my-skill'}`.", mended=bool(slug))  # fmt: skip
        if folder is not None and unicodedata.normalize("NFKC", folder) != name:
            self._say(Rule.NAME_FOLDER, "name", f"The name is not that of its folder ({folder[:LONGEST_NAME]!r}).",
                      f"Rename the folder to {slug[:LONGEST_NAME] or name!r}.", mended=True)  # fmt: skip
        return slug

    def _description(self) -> str:
        text = self._text("description", required=True)
        if not text:
            self._say(Rule.DESCRIPTION_MISSING, "description",
                      "There is no description; the first paragraph stands in for it.",
                      "Say what the skill does, and when it is to be used.")  # fmt: skip
            return ""
        written = self.nodes["description"][1]
        length = len(written.value) if isinstance(written, Scalar) else len(text)
        if length > LONGEST_DESCRIPTION:
            self._say(Rule.DESCRIPTION_LONG, "description",
                      f"The description has {length} characters; {LONGEST_DESCRIPTION} are allowed.",
                      "Shorten it; details belong into the text below.")  # fmt: skip
        return text

    def _compatibility(self) -> str | None:
        text = self._text("compatibility", required=True)
        if text is not None and len(text) > LONGEST_COMPATIBILITY:
            self._say(Rule.COMPATIBILITY_LONG, "compatibility",
                      f"It has {len(text)} characters; {LONGEST_COMPATIBILITY} are allowed.",
                      "Shorten it.")  # fmt: skip
        return text

    def _tools(self) -> str | None:
        found = self.nodes.get("allowed-tools")
        if found is None:
            return None
        _, node = found
        if isinstance(node, YamlList) and all(isinstance(item, Scalar) for item in node.items):
            self._tools_format("It is a list; the specification has one text, separated by spaces.")
            return " ".join(item.value for item in node.items if isinstance(item, Scalar))
        text = self._text("allowed-tools")
        if text is not None and LISTED.search(text):
            self._tools_format("Tools are separated by commas; the specification separates them by spaces.")
            return LISTED.sub(" ", text).strip()
        return text

    def _tools_format(self, message: str) -> None:
        self._say(Rule.TOOLS_FORMAT, "allowed-tools", message, "Write `allowed-tools: Read Bash(git:*)`.",
                  severity=Severity.WARNING, mended=True)  # fmt: skip

    def _metadata(self) -> Mapping[str, Any]:
        found = self.nodes.get("metadata")
        if found is None or (isinstance(found[1], Scalar) and not found[1].value):
            return {}
        if not isinstance(found[1], YamlMap):
            self._say(Rule.FIELD_TYPE, "metadata", "It is no mapping.", "Write keys with texts below it.",
                      severity=Severity.WARNING)  # fmt: skip
            return {}
        for key, value in found[1].pairs:
            if not isinstance(value, Scalar) and key.value != OWN:
                self._say(Rule.METADATA_VALUE, "metadata", f"The value of {key.value[:60]!r} is no text.",
                          "Write a text; other readers may not see what is nested.",
                          severity=Severity.WARNING, mended=True)  # fmt: skip
                break
        return dict(plain(found[1]))

    def _text(self, key: str, *, required: bool = False) -> str | None:
        """A field that is a text; an error where the reference library has one (`required`), else a warning."""
        found = self.nodes.get(key)
        if found is None:
            return None
        place, node = found
        if not isinstance(node, Scalar):
            severity = Severity.ERROR if required else Severity.WARNING
            self._say(Rule.FIELD_TYPE, key, "It is no text.", "Write one text.", severity=severity)
            return None
        if node.tag != STRING and node.value:
            kind = node.tag.rpartition(":")[2]
            self.findings.append(
                Finding(Rule.FIELD_TYPE, Severity.WARNING, place, f"Other readers take the value of {key} for {kind}.",
                        "Put it in quotes.", mended=True)
            )  # fmt: skip
        return node.value.strip()

    def _say(
        self, rule: Rule, key: str, message: str, fix: str, *, severity: Severity = Severity.ERROR, mended: bool = False
    ) -> None:
        place = self.nodes[key][0] if key in self.nodes else self.fallback
        self.findings.append(Finding(rule, severity, place, message, fix, mended))


def name_problem(name: str) -> str | None:
    """What the specification has against `name` (in NFKC), its length left out."""
    if name != name.lower():
        return "has capital letters"
    if name.startswith("-") or name.endswith("-"):
        return "begins or ends with a hyphen"
    if "--" in name:
        return "has two hyphens in a row"
    if not all(character.isalnum() or character == "-" for character in name):
        return "has other characters than letters, digits and hyphens"
    return None


def slugged(name: str) -> str:
    """`name` as the specification wants it; empty when nothing of it can stay."""
    kept = "".join(c if c.isalnum() else "-" for c in unicodedata.normalize("NFKC", name).lower())
    slug = re.sub("-+", "-", kept)[:LONGEST_NAME].strip("-")
    return slug if name_problem(slug) is None else ""
