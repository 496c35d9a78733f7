"""The scan of a bundle. It executes nothing, imports nothing and asks no network: a hint, never a boundary."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from atom.skills.bundle.models import Bundle
from atom.skills.findings import Finding, Place, Rule, Severity, in_order
from atom.skills.lines import Lines
from atom.skills.ports import Grammars, Language, TooComplexError
from atom.skills.scan import declared, packages, prose, sources
from atom.skills.scan.fixes import FIXES
from atom.skills.scan.javascript import reading as javascript_reading
from atom.skills.scan.markdown import Paragraph
from atom.skills.scan.models import (
    FILE_STEPS,
    STEPS,
    Act,
    Budget,
    Inner,
    Kind,
    Notes,
    Scan,
    Seen,
    Source,
    Suspicion,
    Weight,
)
from atom.skills.scan.python import reading as python_reading
from atom.skills.scan.shell import reading as shell_reading
from atom.skills.validation.texts import text_of

MOST_CHARACTERS = 4 * 1024 * 1024  # in all
MOST_VALUES = 100  # of a kind
LONGEST_VALUE = 200
DEEPEST = 3  # programs inside of programs
MOST_INNER = 300
CERTAIN = {Rule.SCAN_DECODE_RUN, Rule.SCAN_DOWNLOAD_RUN, Rule.SCAN_PREREQUISITE}  # also when an agent is told to
MILD = {Rule.SCAN_ADDRESS, Rule.SCAN_COLLECTOR, Rule.SCAN_OBFUSCATION, Rule.SCAN_BINARY}  # in examples
RANKS = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Scanner:
    grammars: Grammars

    def scan(self, bundle: Bundle, metadata: Mapping[str, Any]) -> Scan:
        """`metadata`: of its frontmatter, where it says what it needs."""
        return _Scan(self.grammars, bundle).run(metadata)


@dataclass(slots=True)
class _Scan:
    grammars: Grammars
    bundle: Bundle
    budget: Budget = field(default_factory=Budget)
    findings: list[Finding] = field(default_factory=list)
    seen: dict[tuple[Weight, Kind], set[str]] = field(default_factory=dict)
    places: dict[tuple[Kind, str], Place] = field(default_factory=dict)

    def run(self, metadata: Mapping[str, Any]) -> Scan:
        left, steps = MOST_CHARACTERS, STEPS
        for path, member in self.bundle.files.items():
            left -= len(member.data)
            if left < 0:
                self._incomplete(path, "there is more text in the bundle than is read")
                break
            self.budget = Budget(given := min(FILE_STEPS, steps))
            try:
                self._file(path, member.data)
            except TooComplexError:
                self._incomplete(path, "reading it takes more work than a skill may")
            steps -= given - max(self.budget.left, 0)
        seen = Seen(self._values(Weight.CODE), self._values(Weight.INSTRUCTION))
        self.findings += self._capabilities(seen)
        self.findings += declared.compared(declared.read(metadata), seen, self.places, self.bundle.manifest)
        return Scan(seen, in_order(_once(self.findings)))

    def _file(self, path: str, data: bytes) -> None:
        text = text_of(path, data) or ""
        lines = Lines.of(text)
        for part in sources.read(path, self.bundle.files[path]):
            if isinstance(part, Finding):
                self.findings.append(part)
            elif isinstance(part, Paragraph):
                inner = Lines.of(part.text)
                for one in prose.sayings(part.text, part.weight, self.budget, hidden=part.hidden):
                    line, column = inner.place(one.at)
                    self._found(one, Place(path, part.line + line, column), part.weight)
            else:
                self._source(part)
        for wanted in packages.wanted(path, text):
            place = Place(path, *lines.place(wanted.offset))
            self._package(f"{wanted.system}:{wanted.name}", place, Weight.CODE)

    def _source(self, source: Source) -> None:
        lines = Lines.of(source.text)

        def place(at: int) -> Place:
            line, column = lines.place(min(at, len(source.text)))
            return Place(source.file, source.line + line, column + source.indent)

        notes = Notes(self.budget)
        try:
            self._read(source.language, source.text, notes, 0)
        except python_reading.UnreadableError:
            severity = Severity.WARNING if source.weight is Weight.CODE else Severity.INFO
            self._incomplete(
                source.file, "it is not Python", Place(source.file, source.line + 1, source.indent + 1), severity
            )
        finally:
            for one in notes.suspicions:
                self._found(one, place(one.at), source.weight)
            for act in notes.acts:
                self._act(act, place(act.at), source.weight)

    def _read(self, language: Language, text: str, notes: Notes, depth: int) -> None:
        """With the programs inside of it, each at the place where it is started."""
        if language is Language.PYTHON:
            python_reading.read(text, notes)
        elif language is Language.SHELL:
            shell_reading.read(text, self.grammars.tree(language, text), notes)
        else:
            javascript_reading.read(text, self.grammars.tree(language, text), notes)
        for one in notes.inner[:MOST_INNER] if depth < DEEPEST else ():
            self._inside(one, notes, depth + 1)
        if len(notes.inner) > MOST_INNER:
            raise TooComplexError

    def _inside(self, one: Inner, notes: Notes, depth: int) -> None:
        inner = Notes(self.budget)
        try:
            self._read(one.language, one.text, inner, depth)
        except python_reading.UnreadableError:
            return  # a part of a program that is put together when it runs
        finally:
            notes.suspicions += [replace(found, at=one.at) for found in inner.suspicions]
            notes.acts += [replace(act, at=one.at) for act in inner.acts]

    def _act(self, act: Act, place: Place, weight: Weight) -> None:
        if weight is Weight.DESCRIBED:
            return
        if act.kind is Kind.PACKAGE:
            self._package(act.value, place, weight)
            return
        self._note(act.kind, act.value, place, weight)

    def _note(self, kind: Kind, value: str, place: Place, weight: Weight) -> None:
        said = value[:LONGEST_VALUE]
        self.seen.setdefault((weight, kind), set()).add(said)
        self.places.setdefault((kind, said), place)

    def _package(self, value: str, place: Place, weight: Weight) -> None:
        system, _, said = value.partition(":")
        name = packages.bare(said, system)
        if not name:
            if "://" in said:
                self._found(
                    Suspicion(Rule.SCAN_PACKAGE_SOURCE, Severity.INFO, 0, f"A package from {said}."), place, weight
                )
            return
        if system == packages.PYTHON and self._is_own(name):
            return
        self._note(Kind.PACKAGE, f"{system}:{name}", place, weight)
        meant = packages.imitated(system, name)
        if meant is not None:
            message = f"{name} is a letter away from {meant}, which everybody knows."
            self._found(Suspicion(Rule.SCAN_TYPOSQUAT, Severity.WARNING, 0, message), place, weight)

    def _is_own(self, name: str) -> bool:
        """A module that lies in the bundle."""
        module = name.replace("-", "_")
        parts = {
            part.removesuffix(".py").lower().replace("-", "_") for path in self.bundle.files for part in path.split("/")
        }
        return module in parts

    def _found(self, one: Suspicion, place: Place, weight: Weight) -> None:
        severity = one.severity
        if weight is Weight.DESCRIBED or (weight is Weight.INSTRUCTION and one.rule in MILD):
            severity = Severity.INFO
        elif weight is Weight.INSTRUCTION and severity is Severity.ERROR and one.rule not in CERTAIN:
            severity = Severity.WARNING
        self.findings.append(Finding(one.rule, severity, place, one.message, FIXES[one.rule]))

    def _incomplete(
        self, path: str, why: str, place: Place | None = None, severity: Severity = Severity.WARNING
    ) -> None:
        rule, message = Rule.SCAN_INCOMPLETE, f"It was not scanned to its end: {why}."
        self.findings.append(Finding(rule, severity, place or Place(path), message, FIXES[rule]))

    def _values(self, weight: Weight) -> dict[Kind, tuple[str, ...]]:
        found = {kind: sorted(self.seen.get((weight, kind), ())) for kind in Kind}
        return {
            kind: (
                *values[:MOST_VALUES],
                *([f"and {len(values) - MOST_VALUES} more"] if len(values) > MOST_VALUES else []),
            )
            for kind, values in found.items()
            if values
        }

    def _capabilities(self, seen: Seen) -> Iterable[Finding]:
        for what, part in (("Scripts use", seen.code), ("The agent is told to use", seen.instructions)):
            if part:
                said = "; ".join(f"{kind.value}: {', '.join(values)}" for kind, values in part.items())
                yield Finding(
                    Rule.SCAN_CAPABILITIES,
                    Severity.INFO,
                    Place(self.bundle.manifest),
                    f"{what} {said}.",
                    FIXES[Rule.SCAN_CAPABILITIES],
                )


def _once(findings: Iterable[Finding]) -> list[Finding]:
    """Of one rule on one line the worst; where two say the same, the first."""
    kept: dict[tuple[Rule, str, int | None, str], Finding] = {}
    for one in findings:
        said = one.message if one.rule in {Rule.SCAN_UNDECLARED, Rule.SCAN_UNUSED, Rule.SCAN_TYPOSQUAT} else ""
        key = (one.rule, one.place.file, one.place.line, said if one.place.line is not None else one.message)
        if key not in kept or RANKS[one.severity] < RANKS[kept[key].severity]:
            kept[key] = one
    return list(kept.values())
