"""What a person gives: a task, instructions, files. Everything is checked before anything is sent."""

import json
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from atom.errors import InvalidError, TooLargeError

LARGEST_TEXT = 32_000_000  # the server's own limit is far below; this one keeps an endless pipe out of memory


class TextError(InvalidError):
    code = "text_unreadable"


class FileRefusedError(InvalidError):
    code = "file_refused"


@dataclass(frozen=True, slots=True)
class Attachment:
    path: Path
    name: str
    size: int


def read_task(task: str) -> str:
    """The task itself, or standard input for `-`."""
    text = _read(sys.stdin.buffer, "standard input") if task == "-" else task
    if not text.strip():
        raise TextError("The task is empty.", hint='Say what is to be done: atom run AGENT "task".')
    return text


def read_schema(path: Path | None) -> dict[str, Any] | None:
    """A JSON object from a file."""
    if path is None:
        return None
    try:
        found = json.loads(_text_of(path))
    except ValueError as error:
        raise TextError(f"{path} is not JSON: {error}.", hint="It holds one JSON schema.") from error
    if not isinstance(found, dict):
        raise TextError(f"{path} is no JSON object.", hint="It holds one JSON schema.")
    return found


def read_instructions(text: str | None, path: Path | None) -> str | None:
    if text is not None and path is not None:
        raise TextError("--instructions and --instructions-file are both given.", hint="Give one of them.")
    return text if path is None else _text_of(path)


def _text_of(path: Path) -> str:
    check_file(path)
    with path.open("rb") as file:
        return _read(file, str(path))


def attachments(paths: Iterable[Path]) -> list[Attachment]:
    """The files of a run, each checked. Two of one name would overwrite each other in the workspace."""
    found = [check_file(path) for path in paths]
    _refuse_twins(found)
    return found


def check_file(path: Path) -> Attachment:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise FileRefusedError(f"{path} does not exist.", hint="Check the path; nothing was sent.") from None
    except (OSError, ValueError) as error:
        raise FileRefusedError(f"{path} cannot be read: {error}.", hint="Nothing was sent.") from None
    if stat.S_ISDIR(status.st_mode):
        raise FileRefusedError(f"{path} is a directory.", hint="Give its files, each with --file; nothing was sent.")
    if not stat.S_ISREG(status.st_mode):
        raise FileRefusedError(f"{path} is not a regular file.", hint="Copy it into one; nothing was sent.")
    try:
        with path.open("rb"):
            return Attachment(path, path.name, status.st_size)
    except OSError as error:
        raise FileRefusedError(f"{path} cannot be read: {error.strerror}.", hint="Nothing was sent.") from None


def _refuse_twins(found: Sequence[Attachment]) -> None:
    names = [item.name for item in found]
    for name in names:
        if names.count(name) > 1:
            raise FileRefusedError(f"Two files are called {name}.", hint="Rename one of them; nothing was sent.")


def _read(file: BinaryIO, where: str) -> str:
    data = file.read(LARGEST_TEXT + 1)
    if len(data) > LARGEST_TEXT:
        raise TooLargeError(f"{where} is larger than {LARGEST_TEXT} bytes.", hint="Give it as a file with --file.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{where} is not valid UTF-8 (at byte {error.start}); nothing was sent.",
            hint="Convert it, for example with iconv, or give it as a file with --file.",
        ) from None
