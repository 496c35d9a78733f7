"""Which packages follow from what is wanted, for the target's Python. pip is asked for one package at a time and never
for what it needs: a need can be an address, and what lies there would be run to be looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from atom.skills.errors import shown
from atom.skills.layers.errors import UnresolvedError
from atom.skills.layers.models import Target, Wanted
from atom.skills.layers.wheels import Wheel

SKILL = "the skill"


@dataclass(slots=True)
class Needed:
    """A package that is needed, and what whoever needs it says of its version."""

    name: NormalizedName
    said: dict[str, str] = field(default_factory=dict)  # specifier by who
    extras: frozenset[str] = frozenset()

    @property
    def specifier(self) -> SpecifierSet:
        return SpecifierSet(",".join(sorted({one for one in self.said.values() if one})))

    @property
    def line(self) -> str:
        return f"{self.name}{','.join(sorted(map(str, self.specifier)))}"

    def takes(self, version: Version) -> bool:
        return self.specifier.contains(version, prereleases=True)


def applying(wanted: Wanted, target: Target) -> list[Requirement]:
    """Those whose marker holds there. Raises UnresolvedError where it is another Python than the program says."""
    if wanted.python and not SpecifierSet(wanted.python).contains(target.version, prereleases=True):
        raise UnresolvedError(
            f"A script needs Python {shown(wanted.python)}, and the sandbox has {target.version}.",
            problem="python",
            fix="Change `requires-python`, or let the operator install such a Python.",
        )
    return [one for one in map(Requirement, wanted.texts) if applies(one, target, frozenset())]


def applies(requirement: Requirement, target: Target, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    if marker is None:
        return True
    return any(marker.evaluate({**target.markers, "extra": extra}) for extra in ("", *extras))


def closure(
    wanted: Sequence[Requirement], wheels: Mapping[NormalizedName, Wheel], target: Target
) -> dict[NormalizedName, Needed]:
    """All that is needed as far as `wheels` tell, by name."""
    found: dict[NormalizedName, Needed] = {}
    waiting = [(SKILL, one) for one in wanted]
    while waiting:
        by, one = waiting.pop()
        name = canonicalize_name(one.name)
        is_new = name not in found
        needed = found.setdefault(name, Needed(name))
        said = needed.said.get(by, "")
        needed.said[by] = ",".join(filter(None, (said, str(one.specifier))))
        extras = needed.extras | frozenset(map(canonicalize_name, one.extras))
        if is_new or extras != needed.extras:
            needed.extras = extras
            wheel = wheels.get(name)
            needs = wheel.needs if wheel is not None else ()
            waiting += [(name, need) for need in needs if applies(need, target, extras)]
    return found


def contradicting(needed: Sequence[Needed], error: UnresolvedError) -> UnresolvedError:
    """The same failure, told as what it is where several say something of one package's version."""
    blamed = [one for one in needed if one.line == error.details.get("package")]
    said = [(by, text) for one in blamed for by, text in one.said.items() if text]
    if error.problem != "version" or len({part for _, text in said for part in text.split(",")}) < 2:
        return error
    wishes = ", ".join(f"{by} wants {text}" for by, text in said)
    message = f"No version of {blamed[0].name} suits everybody: {shown(wishes, 1000)}."
    return UnresolvedError(message, problem="conflict", fix="Pin or drop one of them.", package=blamed[0].name)
