"""What may be said about the chain and its anchors."""

from atom.errors import ConflictError, InvalidError, UnavailableError


class NothingToResealError(ConflictError):
    code = "audit_nothing_to_reseal"


class ResealReasonError(InvalidError):
    code = "audit_reason_missing"


class AnchorFileError(UnavailableError):
    code = "audit_anchors_unusable"
    retryable = False
