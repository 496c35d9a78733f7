"""The rule for runs that have read what nobody vouches for, or a secret. Pure.

Until then it says nothing. From then on an argument must be traceable:

* A target (whatever is not declared as something else) must come from the user's words, a trusted source, or be a value
  that a system vouched for. From risk `high` on, only the user's own words count: which of many trusted values is taken
  is a choice too, and a hijacked model would make it.
* A sink says where something goes. Free text may go out only to sinks in the user's own words, and even there no
  address, name with digits, number or date that is not traceable. To any other sink, and always after a secret, every
  word of it must be traceable.
* Free text that stays (no sink) may have any words; what can address or hide something must be traceable.

A piece of a secret in anything that goes out is denied, encoded or not, unless the user said it.

Monotone: more that is untrusted or secret never makes an answer softer; only what is trusted does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atom.governance.decide import Reason, Spoken
from atom.governance.leak import carries, pieces
from atom.governance.models import Action, EffectClass, Label, Part, Risk, Verdict, Vouched
from atom.governance.words import Vocabulary, as_number

TAINTING = frozenset({Label.UNTRUSTED, Label.SECRET})
SHOWN = 60  # characters of a value that a person is shown
MAX_NAMED = 3
UNKNOWN_ORIGIN = "nothing the user or a trusted source said"


@dataclass(frozen=True, slots=True)
class Read:
    """Something that a run has read. `where` is for people. Without labels it neither vouches nor taints."""

    where: str
    text: str
    labels: frozenset[Label]
    vouched: tuple[Vouched, ...] = ()


@dataclass(slots=True)
class Reading:
    """What a run has read up to now. It only ever grows. `user`: words of whoever gave the task, and of the agent's
    definition; `sources`: those, and what trusted sources said. `seen`: untrusted texts and secrets with their place.
    """

    labels: frozenset[Label] = frozenset()
    user: Vocabulary = field(default_factory=Vocabulary)
    sources: Vocabulary = field(default_factory=Vocabulary)
    seen: list[tuple[str, str]] = field(default_factory=list)
    _secret: set[str] = field(default_factory=set)
    _named: list[Vouched] = field(default_factory=list)

    @property
    def tainted(self) -> bool:
        return not self.labels.isdisjoint(TAINTING)

    def user_said(self, text: str) -> None:
        self.user.add(text)
        self.sources.add(text)

    def read(self, one: Read) -> None:
        self.labels |= one.labels & TAINTING
        for vouched in one.vouched:
            if vouched.name:
                self._named.append(vouched)
            else:
                self.sources.atoms.add(vouched.value)
        if Label.SECRET in one.labels:
            self._secret |= pieces(one.text)
        if not one.labels.isdisjoint(TAINTING):
            self.seen.append((one.where, one.text))
        elif Label.TRUSTED in one.labels:
            self.sources.add(one.text)

    def known(self, value: str, *, own: bool) -> bool:
        """Whether a system vouches for `value`. `own`: for a thing that the user named."""
        if not own and value in self.sources.atoms:
            return True
        return any(one.value == value and self.named(one.name) for one in self._named)

    def named(self, name: str) -> bool:
        stem, _, ending = name.rpartition(".")
        plain = stem if stem and ending.isalnum() and len(ending) <= 4 else name
        return any(not self.user.strangers(form, prose=False) for form in (name, plain) if form.strip())

    def leaks(self, value: str) -> bool:
        """Whether a piece of a secret that the user did not say is in it."""
        if not self._secret:
            return False
        kept = self._secret.difference(*(pieces(said) for said in self.user.texts))
        return carries(value, kept)

    def origin(self, stranger: str) -> str:
        """Where the run has read it, for the person who decides."""
        for where, text in reversed(self.seen):
            if stranger and stranger.casefold() in text.casefold():
                return where
        return UNKNOWN_ORIGIN


@dataclass(frozen=True, slots=True)
class Leaf:
    """One plain value in the arguments. `name`: the argument it is in, `place`: where exactly."""

    name: str
    place: str
    value: str | int | float

    @property
    def text(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Trace:
    """How the arguments of one call are judged."""

    action: Action
    leaves: Sequence[Leaf]
    reading: Reading

    @property
    def out(self) -> bool:
        """Whether this call carries something out."""
        sinks = [name for name, part in self.action.parts.items() if part is Part.SINK]
        return self.action.egress and (
            not sinks or any(leaf.name in sinks and leaf.text.strip() for leaf in self.leaves)
        )

    @property
    def strict(self) -> bool:
        return self.action.risk >= Risk.HIGH and self.action.effect is not EffectClass.READ

    def strangers(self, leaf: Leaf) -> list[str]:
        """What of a leaf is not traceable."""
        part = self.action.part(leaf.name)
        if part is Part.LOCAL:
            return []
        if part is Part.CONTENT:
            return untraced(leaf, self.reading, own=False, prose=self.free, content=True)
        return untraced(leaf, self.reading, own=self.strict, prose=False)

    @property
    def free(self) -> bool:
        """Whether free text may have words of its own."""
        if not self.out:
            return True
        if Label.SECRET in self.reading.labels:
            return False
        sinks = [leaf for leaf in self.leaves if self.action.part(leaf.name) is Part.SINK]
        return bool(sinks) and not any(untraced(leaf, self.reading, own=True, prose=False) for leaf in sinks)


def judge(action: Action, arguments: Mapping[str, Any], reading: Reading) -> tuple[Spoken, ...]:
    """What taint has to say about a call."""
    if not reading.tainted:
        return ()
    trace = Trace(action, tuple(leaves(arguments)), reading)
    leaking = [leaf for leaf in trace.leaves if (trace.out or action.inherits) and reading.leaks(leaf.text)]
    if leaking:
        return tuple(_spoken("secret", leaf, "carries a piece of a secret", Verdict.DENY) for leaf in leaking)
    if action.inherits or (action.effect is EffectClass.READ and not action.egress):
        return ()
    return tuple(
        _spoken("untraceable", leaf, _why(found, reading), Verdict.ASK)
        for leaf in trace.leaves
        if (found := trace.strangers(leaf))
    )


def traceable(action: Action, arguments: Mapping[str, Any], reading: Reading) -> bool:
    """Whether everything in a call comes from trusted sources: only then does its result vouch for anything."""
    return not reading.tainted or not any(
        untraced(leaf, reading, own=False, prose=False)
        for leaf in leaves(arguments)
        if action.part(leaf.name) is not Part.LOCAL
    )


def answered(
    action: Action, where: str, text: str, *, given: frozenset[Label], vouched: Sequence[Vouched], traced: bool
) -> Read:
    """What a call brought into the run. `given`: labels of this very result; `traced`: its arguments were traceable.

    A call that untrusted content chose answers what that content wanted to hear: its result vouches for nothing, but
    for the name of a thing that only the user's words can match.
    """
    labels = action.reads | given
    if not labels.isdisjoint(TAINTING) or not traced:
        labels -= {Label.TRUSTED}
    return Read(where, text, labels, tuple(one for one in vouched if traced or one.name))


def untraced(leaf: Leaf, reading: Reading, *, own: bool, prose: bool, content: bool = False) -> list[str]:
    known = reading.user if own else reading.sources
    if not isinstance(leaf.value, str):
        number = as_number(leaf.text) if "e" not in leaf.text else None
        there = number in known.numbers or reading.known(leaf.text, own=own)
        return [] if there else [leaf.text]
    value = leaf.value.strip()
    if reading.known(value, own=own) or known.says(value):
        return []
    return known.strangers(value, prose=prose, content=content)


def leaves(arguments: Mapping[str, Any]) -> Iterator[Leaf]:
    """Every value; names that a caller makes up inside an object are values too. Yes, no and nothing choose nothing."""
    for name, value in arguments.items():
        yield from _leaves(name, name, value)


def _leaves(name: str, place: str, value: Any) -> Iterator[Leaf]:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield Leaf(name, f"{place}.{key}", str(key))
            yield from _leaves(name, f"{place}.{key}", item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(name, f"{place}[{number}]", item)
    elif isinstance(value, int | float):
        yield Leaf(name, place, value)
    else:
        yield Leaf(name, place, str(value))


def _why(strangers: Sequence[str], reading: Reading) -> str:
    first = strangers[0]
    named = ", ".join(repr(_short(one)) for one in strangers[:MAX_NAMED])
    more = f" and {len(strangers) - MAX_NAMED} more" if len(strangers) > MAX_NAMED else ""
    return f"{named}{more} comes from {reading.origin(first)}"


def _spoken(rule: str, leaf: Leaf, why: str, verdict: Verdict) -> Spoken:
    detail = f"argument {_short(leaf.place)}: {why}"
    return Spoken(rule=f"taint:{rule}", reason=Reason.TAINTED, verdict=verdict, detail=detail)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
