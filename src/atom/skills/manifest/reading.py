"""A manifest from a bundle."""

import re
from dataclasses import dataclass, replace

from atom.kit.text import shorten
from atom.skills.bundle.models import MANIFEST, Bundle, Form
from atom.skills.findings import Finding, Place, Rule, Severity
from atom.skills.manifest.fences import TEXT_BEGINS, Split, splits
from atom.skills.manifest.fields import LONGEST_DESCRIPTION, Fields
from atom.skills.manifest.mending import Mended, mend, salvage
from atom.skills.manifest.models import Manifest, Reading
from atom.skills.manifest.text import decode
from atom.skills.manifest.tree import Node, Note, Tree, YamlMap, YamlProblem, parse

MOST_LINES = 500
CODE = re.compile(r"^```.*?(?:^```|\Z)", re.MULTILINE | re.DOTALL)
WIDE = re.compile("^ *[\u00a0\u2002-\u200a\u202f\u3000]", re.MULTILINE)
MENDABLE = {Rule.YAML_SYNTAX, Rule.YAML_ALIAS}
ABOUT = {
    Rule.YAML_QUOTING: ("The value is no YAML as it stands.", "Put it in double quotes."),
    Rule.YAML_TAB: ("The line is indented by tabs or wide spaces.", "Indent it by spaces."),
    Rule.YAML_SPACE: ("There is no space behind the colon.", "Write a space behind it."),
    Rule.YAML_INDENT: ("The text below '|' or '>' is not indented.", "Indent it by two spaces."),
    Rule.YAML_FLOW: ("{what}: readers of StrictYAML, such as the reference library, refuse it.",
                     "Write a key or an item a line."),
    Rule.YAML_ALIAS: ("The anchor {what}: readers of StrictYAML refuse it.", "Write the value out."),
    Rule.YAML_UNEVEN: ("It is indented otherwise than the mapping before: readers of StrictYAML refuse it.",
                       "Indent both alike."),
    Rule.YAML_TAG: ("The tag {what} is ignored.", "Remove it."),
    Rule.YAML_DUPLICATE_KEY: ("The key {what!r} is there twice; the last one is read.", "Remove one of them."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Front:
    """A frontmatter; with a `problem`, `tree` is what could be saved of it, or None."""

    split: Split
    tree: Tree | None
    mended: Mended | None = None
    problem: YamlProblem | None = None

    @property
    def readable(self) -> bool:
        return self.tree is not None and isinstance(self.tree.root, YamlMap)

    @property
    def swallows_text(self) -> bool:
        """Whether a sentence with a colon, behind a heading, was read as a field: the mark that closes is another's."""
        root = self.tree.root if self.tree is not None else None
        keys = [key.value for key, _ in root.pairs] if isinstance(root, YamlMap) else []
        return any(" " in key for key in keys) and TEXT_BEGINS.search(self.split.yaml) is not None


def read(bundle: Bundle) -> Reading:
    """The manifest of `bundle`. Raises ManifestUnreadableError only when nothing in it can be understood."""
    file = bundle.manifest
    text = decode(bundle.files[file].data, file)
    findings = [*text.findings, *_named(bundle)]
    front = _front(text.text, file)
    nodes: dict[str, tuple[Place, Node]] = {}
    if front is not None and front.tree is not None and isinstance(front.tree.root, YamlMap):
        nodes = _nodes(front.tree.root, front, file)
    body, body_line = (text.text, 1) if front is None else (front.split.body, front.split.body_line)
    findings += _about(front, body, file)
    fields = Fields(file, nodes, Place(file, 1, 1))
    values = fields.check(bundle.folder)
    values["description"] = values["description"] or _paragraph(body, LONGEST_DESCRIPTION)
    findings += [*fields.findings, *_body(body, body_line, file)]
    places = {key: place for key, (place, _) in nodes.items()}
    manifest = Manifest(**values, body=body, body_line=body_line, places=places)
    return Reading(manifest, tuple(_inside(finding, text.text) for finding in findings), text.text)


def _inside(finding: Finding, text: str) -> Finding:
    """What is missing behind the last line is missing at its end."""
    last = text.count("\n") + 1
    if finding.place.line is None or finding.place.line <= last:
        return finding
    return replace(finding, place=Place(finding.place.file, last, len(text) - text.rfind("\n")))


def _front(text: str, file: str) -> _Front | None:
    """The first way to take it apart that reads as it stands or mended; else the first, with its problem.

    What looks as if the text had begun in it (a heading, code) is not mended into a field.
    """
    first = None
    for front in map(_strictly, splits(text, file)):
        first = first or front
        if front.swallows_text:
            continue
        if front.readable or (front.problem is not None and front.problem.rule not in MENDABLE):
            return front  # too large, too deep, a bomb: nothing that is meant otherwise
        mended = None if TEXT_BEGINS.search(front.split.yaml) else mend(front.split.yaml)
        if mended is not None:
            return replace(front, tree=mended[0], mended=mended[1], problem=None)
    if first is None or first.readable:
        return first
    saved = salvage(first.split.yaml)
    return replace(first, tree=saved[0], mended=saved[1]) if saved is not None else first


def _strictly(split: Split) -> _Front:
    wide = WIDE.search(split.yaml)
    try:
        if wide is not None:  # to YAML it is a letter of the key
            raise YamlProblem(
                "The line begins with a space of another kind.", split.yaml.count("\n", 0, wide.start()), 0
            )
        return _Front(split, parse(split.yaml))
    except YamlProblem as problem:
        return _Front(split, None, problem=problem)


def _nodes(root: YamlMap, front: _Front, file: str) -> dict[str, tuple[Place, Node]]:
    """The last one of those with the same key."""
    return {key.value: (_place(front, key.line, key.column, file), node) for key, node in root.pairs}


def _place(front: _Front, line: int, column: int, file: str) -> Place:
    column = front.mended.column(line, column) if front.mended is not None else column
    return Place(file, front.split.line + line, column + 1)


def _about(front: _Front | None, body: str, file: str) -> list[Finding]:
    if front is None:
        return [_error(Rule.FRONTMATTER_MISSING, Place(file, 1, 1), "There is no frontmatter.", _suggestion(body))]
    findings = list(front.split.findings)
    if front.problem is not None:
        problem = front.problem
        place = Place(file, front.split.line + problem.line, problem.column + 1)
        findings.append(_error(problem.rule, place, problem.message, "Write it as YAML: `key: text`, a line each."))
    elif not front.readable:
        place = Place(file, front.split.line, 1)
        findings.append(
            _error(Rule.FRONTMATTER_NOT_MAPPING, place, "The frontmatter has no fields.", _suggestion(body))
        )
    mended = front.mended.notes if front.mended is not None else ()
    findings += [_noted(note, Place(file, front.split.line + note.line, note.column + 1)) for note in mended]
    read = front.tree.notes if front.tree is not None else ()
    return [*findings, *(_noted(note, _place(front, note.line, note.column, file)) for note in read)]


def _noted(note: Note, place: Place) -> Finding:
    message, fix = ABOUT[note.rule]
    return Finding(
        note.rule,
        Severity.ERROR,
        place,
        message.format(what=note.what),
        fix,
        mended=note.rule is not Rule.YAML_DUPLICATE_KEY,
    )


def _suggestion(body: str) -> str:
    return f"Begin the file with ---, name: ..., description: {_paragraph(body, 80) or '...'}, ---."


def _paragraph(body: str, limit: int) -> str:
    """The first line that begins like a sentence, else the first heading."""
    lines = [line.strip().lstrip("*_>").strip() for line in CODE.sub("", body).split("\n")]
    sentences = [line for line in lines if line and line[0].isalnum()]
    headings = [line.strip("# ") for line in lines if line.startswith("#")]
    return shorten(next((line for line in (*sentences, *headings) if line), ""), limit)


def _body(body: str, line: int, file: str) -> list[Finding]:
    if not body.strip():
        return [
            Finding(Rule.BODY_EMPTY, Severity.WARNING, Place(file, line, 1), "There are no instructions.",
                    "Write below the frontmatter what the agent is to do.")
        ]  # fmt: skip
    count = body.count("\n") + 1
    if count <= MOST_LINES:
        return []
    return [
        Finding(Rule.BODY_LONG, Severity.INFO, Place(file, line + MOST_LINES, 1),
                f"The instructions have {count} lines; the specification advises {MOST_LINES} at most.",
                "Move details into files under references/.")
    ]  # fmt: skip


def _named(bundle: Bundle) -> list[Finding]:
    if bundle.manifest == MANIFEST or bundle.form is Form.FILE:
        return []
    severity = Severity.WARNING if bundle.manifest == MANIFEST.lower() else Severity.ERROR
    return [
        Finding(Rule.MANIFEST_NAME, severity, Place(bundle.manifest), f"The file is not called {MANIFEST}.",
                f"Rename it to {MANIFEST}.", mended=True)
    ]  # fmt: skip


def _error(rule: Rule, place: Place, message: str, fix: str) -> Finding:
    return Finding(rule, Severity.ERROR, place, message, fix)
