"""What can go wrong with a model call, in the classes that retry and failover are decided by."""

from atom.errors import AtomError, Kind


class ModelError(AtomError):
    """A model call failed. `provider` and `model` are in the details.

    `failover`: another route may be tried (and the same one again, later). `status` is the provider's HTTP status.
    """

    kind = Kind.UNAVAILABLE
    code = "llm_error"
    failover = False

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        model: str,
        hint: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, provider=provider, model=model, status=status, retry_after=retry_after)
        self.provider = provider
        self.model = model
        self.status = status
        self.retry_after = retry_after


class ModelTimeoutError(ModelError):
    """No first byte, no further byte, or no end in time."""

    kind = Kind.TIMEOUT
    code = "llm_timeout"
    failover = True
    retryable = True


class ModelUnavailableError(ModelError):
    """The provider cannot be reached, dropped the connection, or answered 408, 409 or 5xx."""

    code = "llm_unavailable"
    failover = True
    retryable = True


class ModelRateLimitedError(ModelError):
    """429. `retry_after` is seconds, when the provider said it."""

    kind = Kind.LIMITED
    code = "llm_rate_limited"
    failover = True
    retryable = True


class TruncatedReplyError(ModelError):
    """The stream ended without a finish reason: nothing of it may be used."""

    code = "llm_truncated"
    failover = True
    retryable = True


class MalformedReplyError(ModelError):
    """The provider sent something that is not its own protocol."""

    code = "llm_malformed"
    failover = True
    retryable = True


class ModelAuthError(ModelError):
    """401 or 403: this key is not accepted. Never a reason to spend another provider's key."""

    kind = Kind.INVALID
    code = "llm_key_refused"


class ModelRequestError(ModelError):
    """400, 404, 422: the request itself is refused (unknown model, context too long, bad schema)."""

    kind = Kind.INVALID
    code = "llm_request_refused"


class ModelNotConfiguredError(AtomError):
    """No key, no weights or no such provider: the message says what to set."""

    kind = Kind.INVALID
    code = "llm_not_configured"


class CatalogueError(AtomError):
    """The file with what is known of models cannot be used."""

    kind = Kind.INVALID
    code = "llm_catalogue_invalid"


class CacheAwayError(AtomError):
    """The store of the response cache does not answer."""

    kind = Kind.UNAVAILABLE
    code = "llm_cache_away"


class RoutesDownError(ModelError):
    """No route can answer now. `resume_after` is in seconds; `last` is what the last try said."""

    code = "llm_routes_down"
    retryable = True

    def __init__(
        self, message: str, *, provider: str, model: str, resume_after: float, last: ModelError | None
    ) -> None:
        hint = "It goes on by itself when a provider answers again. `atom keys list` shows the keys."
        super().__init__(message, provider=provider, model=model, hint=hint)
        self.resume_after = resume_after
        self.last = last


class OverBudgetError(AtomError):
    """A call would go over a limit. `resume_after`: seconds until the window ends, None when only a person helps."""

    kind = Kind.LIMITED
    code = "llm_over_budget"

    def __init__(self, message: str, *, hint: str, scope: str, resume_after: float | None) -> None:
        super().__init__(message, hint=hint, scope=scope)
        self.scope = scope
        self.resume_after = resume_after


def error_class(error: ModelError) -> str:
    """For the ledger: what sort of failure, with the provider's status where there is one."""
    return f"{error.code} ({error.status})" if error.status else error.code
