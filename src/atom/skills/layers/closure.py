"""Which of the wheels that pip chose are installed: those the target's Python needs, also where pip runs on another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name

from atom.skills.errors import shown
from atom.skills.layers.errors import UnresolvedError
from atom.skills.layers.models import Target, Wanted, canonical
from atom.skills.layers.wheels import Wheel


@dataclass(frozen=True, slots=True)
class Closure:
    """`missing`: requirements that apply here and that nothing meets yet."""

    wheels: tuple[Wheel, ...]
    missing: tuple[str, ...]


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


def closure(wanted: Iterable[Requirement], wheels: Mapping[NormalizedName, Wheel], target: Target) -> Closure:
    """Everything that follows from `wanted`, by name. Raises UnresolvedError when a version does not do."""
    waiting = list(wanted)
    seen: dict[NormalizedName, frozenset[str]] = {}
    missing: set[str] = set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        wheel = wheels.get(name)
        if wheel is None:
            missing.add(f"{name}{_version(one)}")
            continue
        if not one.specifier.contains(wheel.version, prereleases=True):
            raise UnresolvedError(
                f"{shown(canonical(one))} is needed, and {wheel.version} was chosen.",
                problem="conflict",
                fix="Loosen or drop one of the requirements.",
                package=name,
            )
        extras = seen.get(name, frozenset()) | frozenset(map(canonicalize_name, one.extras))
        if seen.get(name) == extras:
            continue
        seen[name] = extras
        waiting += [need for need in wheel.needs if applies(need, target, extras)]
    return Closure(tuple(wheels[name] for name in sorted(seen)), tuple(sorted(missing)))


def _version(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{extras}{requirement.specifier}"
