"""What may become of a version: every change of its status as a pure function of how it stands.

`quarantined` -> `approved` -> `active`; `active` and `approved` -> `disabled` -> `active`; anything -> `retired`.
The functions know no database; the service applies them under the lock of the skill's row.
"""

from collections.abc import Mapping
from enum import StrEnum

from atom.skills.registry.errors import SkillStatusError
from atom.skills.registry.models import Status


class Move(StrEnum):
    """What a person does. The value is how the audit names it."""

    APPROVE = "approved"
    ACTIVATE = "activated"
    DISABLE = "disabled"
    RETIRE = "retired"


TARGETS: Mapping[Move, Status] = {
    Move.APPROVE: Status.APPROVED,
    Move.ACTIVATE: Status.ACTIVE,
    Move.DISABLE: Status.DISABLED,
    Move.RETIRE: Status.RETIRED,
}
FROM: Mapping[Move, frozenset[Status]] = {
    Move.APPROVE: frozenset({Status.QUARANTINED}),
    Move.ACTIVATE: frozenset({Status.APPROVED, Status.ACTIVE, Status.DISABLED}),
    Move.DISABLE: frozenset({Status.APPROVED, Status.ACTIVE, Status.DISABLED}),
    Move.RETIRE: frozenset(Status),
}
HINTS: Mapping[Status, str] = {
    Status.QUARANTINED: "Nobody has approved it yet; to refuse it for good, retire it.",
    Status.APPROVED: "Somebody has approved it already.",
    Status.ACTIVE: "Somebody has approved it already.",
    Status.DISABLED: "It was approved before; `atom skills activate` brings it back.",
    Status.RETIRED: "That is for good. Other content is another version.",
}


def moved(status: Status, move: Move) -> Status:
    """The status after `move`; the same one when it is there already. Raises SkillStatusError."""
    if status not in FROM[move]:
        raise SkillStatusError(status.value, move.value, hint=HINTS[status])
    return TARGETS[move]


def superseded(status: Status) -> Status:
    """Of the version that was in use until another one of the skill is: people can go back to it."""
    assert status is Status.ACTIVE
    return Status.APPROVED
