"""What may be said about a trigger, a firing or a proposal."""

from atom.errors import ConflictError, InvalidError, LimitedError, NotFoundError, UnauthenticatedError


class TriggerNotFoundError(NotFoundError):
    code = "trigger_not_found"

    def __init__(self, ref: str) -> None:
        super().__init__(f"There is no trigger {ref[:100]!r}.", hint="`atom triggers list` shows those there are.")


class TriggerExistsError(ConflictError):
    code = "trigger_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a trigger {name!r} already.", hint="Choose another name.", field="name")


class TriggerInvalidError(InvalidError):
    code = "trigger_invalid"


class ScheduleInvalidError(TriggerInvalidError):
    code = "schedule_invalid"


class TriggerDisabledError(ConflictError):
    code = "trigger_disabled"


class TriggerStaleError(ConflictError):
    """Somebody changed it since the caller looked."""

    code = "trigger_stale"


class WebhookRefusedError(UnauthenticatedError):
    """One answer for an unknown trigger, a wrong signature and a stale time: a stranger learns nothing."""

    code = "webhook_refused"

    def __init__(self) -> None:
        super().__init__(
            "This delivery is not accepted.",
            hint="It carries webhook-id, webhook-timestamp (within 5 minutes) and a v1 webhook-signature.",
        )


class TooManyOpenError(LimitedError):
    code = "too_many_open"


class ProposalNotFoundError(NotFoundError):
    code = "proposal_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no proposal {id_}.", hint="`atom triggers proposals` shows those that are open.")


class ProposalSettledError(ConflictError):
    code = "proposal_settled"
