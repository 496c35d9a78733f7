"""What a caller may be told about who they are."""

from atom.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError


class CredentialMissingError(UnauthenticatedError):
    code = "credential_missing"

    def __init__(self) -> None:
        super().__init__(
            "This call needs a credential.", hint="Send `Authorization: Bearer <token>`; `atom token create` makes one."
        )


class CredentialInvalidError(UnauthenticatedError):
    """One answer for unknown, wrong, expired and revoked: nothing to learn from the difference."""

    code = "credential_invalid"

    def __init__(self) -> None:
        super().__init__(
            "This credential is not valid.", hint="It may have expired or been revoked; ask an admin for a new one."
        )


class PermissionMissingError(ForbiddenError):
    code = "permission_missing"

    def __init__(self, permission: str) -> None:
        super().__init__(
            f"This credential does not include {permission}.",
            hint="An admin can give a wider role.",
            permission=permission,
        )


class RoleTooWideError(ForbiddenError):
    code = "role_too_wide"


class TokenNotFoundError(NotFoundError):
    code = "token_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no token {id_}.", hint="`atom token list` shows them.")


class TokenInvalidError(InvalidError):
    code = "token_invalid"


class LastAdminError(ConflictError):
    code = "last_admin"

    def __init__(self) -> None:
        super().__init__(
            "This is the last admin token that works: without one nobody could make another.",
            hint="Make a new one first: `atom token create NAME --role admin`.",
        )
