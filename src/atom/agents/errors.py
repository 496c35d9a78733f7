"""What can be wrong with an agent's definition."""

from atom.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError


class AgentNotFoundError(NotFoundError):
    code = "agent_not_found"

    def __init__(self, ref: str) -> None:
        super().__init__(f"There is no agent {ref!r}.", hint="`atom agents list` shows them.", agent=ref)


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
