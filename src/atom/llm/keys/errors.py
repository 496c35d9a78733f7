"""What can be wrong about a provider key. No message carries one."""

from atom.errors import ConflictError, InvalidError, NotFoundError
from atom.kit.redact import redact


class KeyNotFoundError(NotFoundError):
    code = "provider_key_not_found"

    def __init__(self, ref: str) -> None:
        super().__init__(f"There is no provider key {redact(ref)[:80]!r}.", hint="`atom keys list` shows them.")


class KeyExistsError(ConflictError):
    code = "provider_key_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a provider key named {name!r} already.", hint="Choose another name.")


class KeyInvalidError(InvalidError):
    code = "provider_key_invalid"


class RoutesInvalidError(InvalidError):
    code = "routes_invalid"
