"""What somebody wants run."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from atom.errors import InvalidError, TooLargeError
from atom.kit.text import clean, shorten
from atom.skills.execution.models import Purpose
from atom.skills.sandbox.models import MAX_ARGUMENT_BYTES, MAX_ARGUMENTS, is_plain

INPUTS = "input"  # the folder of the files that are given to a script
MAX_INPUT = 1_000_000
MAX_FILES = 50
MAX_FILE_BYTES = 20_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """`script` "": the only one. `input` is JSON, on its standard input. `files` by name, below the folder `input`.

    `version`: hexadecimal digits that the content's hash begins with, where the caller has read it. `online`: whether
    it may be one that declares hosts; None: either. `call_key`: the same for a repeated call. Raises InvalidError.
    """

    skill: str
    actor: str
    script: str = ""
    arguments: Sequence[str] = ()
    input: str = "null"
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    version: str = ""
    purpose: Purpose = Purpose.RUN
    agent: str | None = None
    agent_id: UUID | None = None
    run_id: UUID | None = None
    call_key: str | None = None
    online: bool | None = None

    def __post_init__(self) -> None:
        if len(self.arguments) > MAX_ARGUMENTS:
            raise InvalidError(f"arguments: more than {MAX_ARGUMENTS}.", field="arguments")
        if any("\0" in one or clean(one) != one or len(one.encode()) > MAX_ARGUMENT_BYTES for one in self.arguments):
            raise InvalidError(
                f"arguments: one has a NUL character, or more than {MAX_ARGUMENT_BYTES} bytes.", field="arguments"
            )
        if len(self.files) > MAX_FILES:
            raise InvalidError(f"files: more than {MAX_FILES}.", field="files")
        for name in self.files:
            if not is_plain(f"{INPUTS}/{name}"):
                raise InvalidError(
                    f"files: {shorten(name, 200)!r} is not a plain relative path.",
                    hint="Names of folders and files with / between them, without `..`.",
                    field="files",
                )
        blocked = in_the_way(self.files)
        if blocked is not None:
            raise InvalidError(f"files: {shorten(blocked, 200)!r} is a file, and a folder of another.", field="files")
        if sum(map(len, self.files.values())) > MAX_FILE_BYTES:
            raise TooLargeError(f"files: more than {MAX_FILE_BYTES} bytes together.", field="files")
        _check_json(self.input)


def in_the_way(paths: Collection[str]) -> str | None:
    """One that is a folder of another: they cannot lie in one place."""
    folders = (one[:end] for one in paths for end, character in enumerate(one) if character == "/")
    return next((folder for folder in folders if folder in paths), None)


def _check_json(text: str) -> None:
    if len(text) > MAX_INPUT:
        raise TooLargeError(f"input: more than {MAX_INPUT} characters.", field="input")
    try:
        json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        why = str(error)[:200]
        raise InvalidError(
            f"input: it is not JSON: {why}.", hint='A text is JSON in quotes: "..."', field="input"
        ) from None


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
