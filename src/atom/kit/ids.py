"""Identifiers: UUIDv7, so that they sort by the time they were made."""

from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    return UUID(int=uuid_utils.uuid7().int)


def parse_id(text: str) -> UUID | None:
    """The UUID that `text` spells in its canonical form, else None."""
    try:
        value = UUID(text)
    except ValueError:
        return None
    return value if str(value) == text.lower() else None
