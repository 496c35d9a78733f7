"""Names of embedding models that may stand in a statement as they are."""

import re

from atom.errors import InternalError

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9 ._:/@-]{0,99}$")


def checked(name: str) -> str:
    """Raises InternalError: an index is defined by text, and takes no parameter."""
    if not NAME.fullmatch(name):
        raise InternalError(f"The embedder's name {name[:100]!r} has characters that no index can be made for.")
    return name
