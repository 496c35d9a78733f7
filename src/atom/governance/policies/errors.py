"""What can be wrong with a policy."""

from atom.errors import ConflictError, InvalidError, NotFoundError, UnavailableError


class PolicyInvalidError(InvalidError):
    """`line` and `column` count from 1 and are of the document as it was sent."""

    code = "policy_invalid"

    def __init__(self, message: str, *, line: int, column: int, hint: str = "") -> None:
        super().__init__(f"line {line}, column {column}: {message}", hint=hint, line=line, column=column)


class PolicyNotFoundError(NotFoundError):
    code = "policy_not_found"

    def __init__(self, name: str, version: int | None = None) -> None:
        which = f"policy {name!r}" if version is None else f"version {version} of policy {name!r}"
        super().__init__(f"There is no {which}.", hint="`atom governance policies` lists them.")


class TooManyPoliciesError(ConflictError):
    code = "too_many_policies"


class PolicyUnreadableError(UnavailableError):
    """A policy in force that this process cannot read, such as one of a later release: nothing is authorised here."""

    code = "policy_unreadable"
