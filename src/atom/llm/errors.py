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
