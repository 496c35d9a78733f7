"""What can be wrong with a grant."""

from atom.errors import InvalidError, NotFoundError


class GrantInvalidError(InvalidError):
    code = "grant_invalid"


class GrantNotFoundError(NotFoundError):
    code = "grant_not_found"

    def __init__(self, agent: str, action: str) -> None:
        super().__init__(
            f"No grant lets {agent!r} do {action!r} past the floor.", hint="`atom governance grants` lists them."
        )
