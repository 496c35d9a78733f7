"""How an embedder fails. The local one has no such failures; an endpoint has them all."""

from atom.errors import AtomError, Kind


class EmbedderError(AtomError):
    """It gave no vectors. Nothing was stored; texts are found by words meanwhile."""

    kind = Kind.UNAVAILABLE
    code = "embedder_failed"


class EmbedderAwayError(EmbedderError):
    """It passes: no connection, no answer in time, too many requests, a fault of the server.

    `retry_after`: seconds that it asked for, or None.
    """

    code = "embedder_away"
    retryable = True

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class EmbedderRefusedError(EmbedderError):
    """It does not pass by itself: the key, the model or the address is wrong. The hint names the setting."""

    code = "embedder_refused"


class EmbedderInputError(EmbedderError):
    """It takes this text, or something of the request, not."""

    code = "embedder_input"


class EmbedderReplyError(EmbedderError):
    """It answered something that is not the protocol, or vectors of another model than before."""

    code = "embedder_reply"
