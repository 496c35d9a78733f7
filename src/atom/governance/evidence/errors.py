"""Why a maturity stays as it is."""

from atom.errors import ConflictError, InvalidError


class PromotionRefusedError(ConflictError):
    """The evidence does not reach: the criteria that are not met are named."""

    code = "promotion_refused"


class LadderEndError(ConflictError):
    """There is no rung in that direction."""

    code = "maturity_at_its_end"


class ClassFollowsError(ConflictError):
    """The class has no maturity of its own: it is as mature as its agent."""

    code = "class_follows_agent"


class ReasonMissingError(InvalidError):
    code = "reason_missing"
