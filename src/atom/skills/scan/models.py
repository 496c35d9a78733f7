"""What is read out of one text of a bundle, and what is made of all of them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Flag, StrEnum, auto
from typing import Any

from atom.skills.findings import Finding, Rule, Severity
from atom.skills.ports import Language, TooComplexError

MOST_ACTS = 20_000  # of one text
STEPS = 3_000_000  # of work on one bundle, counted so that a bundle has the same verdict on every machine
FILE_STEPS = 1_000_000  # of them on one file: it must not keep others from being read


class Weight(StrEnum):
    """Who carries it out: the machine, the agent that reads it, or nobody because it is told as something bad."""

    CODE = "code"
    INSTRUCTION = "instruction"
    DESCRIBED = "described"


class Kind(StrEnum):
    """What code may do. The values are the keys of a declaration."""

    NETWORK = "hosts"
    COMMAND = "commands"
    ENV = "env"
    READ = "reads"
    WRITE = "writes"
    PACKAGE = "packages"
    DYNAMIC = "dynamic"


class Label(Flag):
    """Where a value comes from."""

    NONE = 0
    CREDENTIAL = auto()  # what lies where credentials lie
    ACCOUNT = auto()  # what other programs sign in with; who uses an account sends it to whom it belongs
    PLACE = auto()  # only the path
    OWN_SECRET = auto()  # a .env file, an agent's memory
    ENVIRONMENT = auto()  # all of it
    DOWNLOADED = auto()
    DECODED = auto()


SENT = (
    (Label.CREDENTIAL, Severity.ERROR, "What lies where credentials lie"),
    (Label.ENVIRONMENT, Severity.ERROR, "The whole environment"),
    (Label.ACCOUNT, Severity.WARNING, "What another program signs in with"),
    (Label.OWN_SECRET, Severity.WARNING, "What a file of secrets, or of an agent's memory, holds"),
)
OWN = frozenset({"SKILL_OUTPUT", "SKILL_RESULT_FD", "SKILL_RESULT_NONCE"})  # what the sandbox tells every program
UNKNOWN = "?"
"""A host, command or path that is put together only when it runs."""


@dataclass(frozen=True, slots=True)
class Act:
    """`at` counts characters of the text that was read. `value`: a host, command, name, path or package."""

    kind: Kind
    value: str
    at: int


@dataclass(frozen=True, slots=True)
class Suspicion:
    rule: Rule
    severity: Severity
    at: int
    message: str


@dataclass(frozen=True, slots=True)
class Inner:
    """A program inside of another one, as what stands behind `bash -c`."""

    language: Language
    text: str
    at: int


@dataclass(slots=True)
class Budget:
    """Work that is left. Raises TooComplexError when there is none."""

    left: int = FILE_STEPS

    def spend(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooComplexError


@dataclass(slots=True)
class Notes:
    """What one text does, as it is found."""

    budget: Budget
    acts: list[Act] = field(default_factory=list)
    suspicions: list[Suspicion] = field(default_factory=list)
    inner: list[Inner] = field(default_factory=list)

    def act(self, kind: Kind, value: str, at: int) -> None:
        self.budget.spend()
        if kind is Kind.ENV and value in OWN:
            return
        if len(self.acts) >= MOST_ACTS:
            raise TooComplexError
        self.acts.append(Act(kind, value, at))

    def sends(self, labels: Label, at: int) -> None:
        """Something with `labels` goes to the network."""
        for label, severity, what in SENT:
            if label in labels:
                self.suspect(Rule.SCAN_EXFILTRATION, severity, at, f"{what} goes to the network here.")

    def runs(self, labels: Label, at: int, *, code: bool = True) -> None:
        """Something with `labels` is run. `code`: as code; a command may be one that is only told by what was read."""
        severity = Severity.ERROR if code else Severity.WARNING
        if Label.DOWNLOADED in labels:
            self.suspect(Rule.SCAN_DOWNLOAD_RUN, severity, at, "It runs what it got from the network.")
        if Label.DECODED in labels:
            self.suspect(Rule.SCAN_DECODE_RUN, severity, at, "It runs what it decodes just before.")

    def suspect(self, rule: Rule, severity: Severity, at: int, message: str) -> None:
        self.budget.spend()
        self.suspicions.append(Suspicion(rule, severity, at, message))


@dataclass(frozen=True, slots=True)
class Source:
    """A text of a file. It begins behind line `line` of it, each of its lines behind `indent` characters."""

    file: str
    text: str
    language: Language
    weight: Weight = Weight.CODE
    line: int = 0
    indent: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """By kind, sorted: `code` is what scripts do, `instructions` what the agent is told to."""

    code: Mapping[Kind, tuple[str, ...]]
    instructions: Mapping[Kind, tuple[str, ...]]

    def plain(self) -> dict[str, dict[str, list[str]]]:
        """What is empty is left out."""
        parts = {"code": _plain(self.code), "instructions": _plain(self.instructions)}
        return {name: part for name, part in parts.items() if part}


@dataclass(frozen=True, slots=True)
class Scan:
    """`findings` are in the order of files and places."""

    seen: Seen
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Severity | None:
        found = {one.severity for one in self.findings}
        return next((one for one in Severity if one in found), None)

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(one.severity.value for one in self.findings)
        return {severity.value: found[severity.value] for severity in Severity}

    def plain(self) -> dict[str, Any]:
        return {"counts": self.counts, "seen": self.seen.plain(), "findings": [one.plain() for one in self.findings]}


def _plain(part: Mapping[Kind, Iterable[str]]) -> dict[str, list[str]]:
    return {kind.value: [*values] for kind, values in sorted(part.items()) if values}
