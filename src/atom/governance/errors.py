"""What may be said about an approval that cannot be decided."""

from atom.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError


class ApprovalNotFoundError(NotFoundError):
    code = "approval_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no approval {id_}.", hint="`atom approvals list` shows those that are open.")


class ApprovalSettledError(ConflictError):
    """Somebody decided first, it was used, or its run has ended."""

    code = "approval_settled"


class ApprovalExpiredError(ConflictError):
    code = "approval_expired"


class ApprovalChangedError(ConflictError):
    """It is about another call than the one that was looked at: somebody has edited it."""

    code = "approval_changed"


class ApprovalFourEyesError(ForbiddenError):
    """Somebody else has to decide."""

    code = "approval_four_eyes"


class ApprovalAssignedError(ForbiddenError):
    """It is assigned to somebody else."""

    code = "approval_assigned"


class ApprovalArgumentsError(InvalidError):
    """The edited arguments do not fit the tool."""

    code = "approval_arguments_invalid"


class DelegationNotFoundError(NotFoundError):
    code = "delegation_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no delegation {id_}.", hint="`atom approvals delegations` lists them.")


class DelegationForbiddenError(ForbiddenError):
    """It is somebody else's."""

    code = "delegation_forbidden"
