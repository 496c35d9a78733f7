"""Files from outside on their way into a workspace: where they go, and how they get to the disk."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

from atom.kit.ids import new_id
from atom.runs.errors import UploadInvalidError, UploadTooLargeError

UPLOADS = "uploads"
UNSAFE = re.compile(r"[^\w.,@+ -]")
MAX_NAME = 120  # bytes
MAX_SUFFIX = 20


def upload_path(name: str) -> str:
    """In a folder of its own: two uploads of one name never meet."""
    return f"{UPLOADS}/{new_id().hex[-12:]}/{safe_name(name)}"


async def write_upload(target: Path, chunks: AsyncIterator[bytes], max_bytes: int) -> int:
    """Durable when it returns its size in bytes. Raises UploadTooLargeError; the caller removes what is left then."""
    size = 0
    with await asyncio.to_thread(target.open, "xb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise UploadTooLargeError(
                    f"file: larger than {max_bytes} bytes.",
                    hint="ATOM_WEB__MAX_UPLOAD_BYTES raises it.",
                    field="file",
                )
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(file.flush)
        await asyncio.to_thread(os.fsync, file.fileno())
    return size


def safe_name(name: str) -> str:
    """A file name and nothing else: the client's folders are dropped, odd characters become `_`."""
    base = UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip(" .")
    if not base:
        raise UploadInvalidError("file: the upload has no file name.", field="file")
    if len(base.encode()) <= MAX_NAME:
        return base
    stem, dot, suffix = base.rpartition(".")
    return _cut(stem if dot else base, MAX_NAME - MAX_SUFFIX) + (_cut(dot + suffix, MAX_SUFFIX) if dot else "")


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes: that is how file systems count."""
    return text.encode()[:limit].decode("utf-8", "ignore")
