"""What may be said about a webhook."""

from atom.errors import ConflictError, InvalidError, NotFoundError


class WebhookNotFoundError(NotFoundError):
    code = "webhook_not_found"

    def __init__(self, ref: str) -> None:
        super().__init__(f"There is no webhook {ref[:64]!r}.", hint="`atom webhooks list` shows them.")


class WebhookExistsError(ConflictError):
    code = "webhook_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a webhook {name!r} already.", hint="Take another name, or remove it first.")


class WebhookInvalidError(InvalidError):
    """`field` names what is wrong."""

    code = "webhook_invalid"
