"""What can be wrong with an agent's definition."""

from atom.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from atom.kit.text import shorten

MAX_SHOWN = 100


class AgentNotFoundError(NotFoundError):
    code = "agent_not_found"

    def __init__(self, ref: str) -> None:
        shown = shorten(ref, MAX_SHOWN)
        super().__init__(f"There is no agent {shown!r}.", hint="`atom agents list` shows them.", agent=shown)


class AgentExistsError(ConflictError):
    code = "agent_exists"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is an agent named {name!r} already.", hint="Names differ in more than case.", name=name
        )


class AgentInvalidError(InvalidError):
    code = "agent_invalid"


class AgentRetiredError(ConflictError):
    code = "agent_retired"


class MaturityNotYoursError(ForbiddenError):
    code = "maturity_needs_admin"
