"""What may be said about an approval that cannot be decided."""

from atom.errors import ConflictError, NotFoundError


class ApprovalNotFoundError(NotFoundError):
    code = "approval_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no approval {id_}.", hint="`atom approvals list` shows those that are open.")


class ApprovalSettledError(ConflictError):
    """Somebody decided first, it was used, or its run has ended."""

    code = "approval_settled"


class ApprovalExpiredError(ConflictError):
    code = "approval_expired"
