"""Whose word counts for an approval: pure rules over names.

A person is known by the name of their key: keys of one name are one person, whatever their roles.
"""

from collections.abc import Sequence

from atom.governance.models import Eyes

ROLE = "role:"


def person(actor: str) -> str:
    """The person behind an actor (`admin:alice`), as names are compared."""
    return actor.partition(":")[2].strip().casefold()


def as_assignee(name: str) -> str:
    """A person's name, or `role:` and a role, as they are compared."""
    return name.strip().casefold()


def enough(eyes: Eyes, requested_by: str | None, said_yes: Sequence[str]) -> bool:
    """Whether these actors together have approved it."""
    people = {person(actor) for actor in said_yes}
    if eyes is Eyes.TWO:
        return len(people) >= 2
    if eyes is Eyes.OTHER and requested_by is not None:
        people.discard(person(requested_by))
    return bool(people)


def withheld(eyes: Eyes, requested_by: str | None, said_yes: Sequence[str]) -> list[str]:
    """The people who may not decide it now: who asked for it, or who has said yes already."""
    if eyes is Eyes.TWO:
        return sorted({person(actor) for actor in said_yes})
    if eyes is Eyes.OTHER and requested_by is not None:
        return [person(requested_by)]
    return []


def still_assigned(assignee: str | None, held: Sequence[str]) -> str | None:
    """Whom an approval stays assigned to. A person who may not decide it any more keeps nobody else from it."""
    return None if assignee in held else assignee


def stricter(one: Eyes, other: Eyes) -> Eyes:
    return max(one, other, key=lambda eyes: eyes.strictness)
