"""What groups of settings are made of: frozen models, lists of names, sizes."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, field_validator


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}  # as Docker and Kubernetes operators write them
SIZE = re.compile(r"([0-9]{1,15})([kmg]?)b?", re.IGNORECASE)
LEAST_SIZE, MOST_SIZE = 1 << 20, 1 << 40


def bytes_of(size: str) -> int:
    """Raises ValueError for what is no size."""
    found = SIZE.fullmatch(size.strip())
    if found is None:
        raise ValueError("not a size such as 512m, 2g or a number of bytes")
    return int(found[1]) * UNITS[found[2].lower()]


def _size(value: str) -> str:
    if not LEAST_SIZE <= bytes_of(value) <= MOST_SIZE:
        raise ValueError("not between 1m and 1024g")
    return value.strip().lower()


Size = Annotated[str, AfterValidator(_size)]


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _expand(cls, value: object) -> object:
        """`~` in a path is a shell's word; unit files and manifests do not expand it."""
        if not isinstance(value, Path):
            return value
        try:
            return value.expanduser()
        except RuntimeError:
            raise ValueError("this user's home directory is not known, write the path out") from None
