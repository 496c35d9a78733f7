"""The cold store in a folder or in an S3-compatible bucket."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore

from atom.infra.buckets import Bucket, open_bucket
from atom.memory.errors import ColdObjectMissingError, ColdStoreUnavailableError
from atom.settings import MemorySettings

NO_OBJECT = (NotFoundError, FileNotFoundError)
FULL = ("no space left", "quota exceeded", "storagefull", "file too large")


@dataclass(slots=True)
class ColdObjects:
    """`store` is None for a folder until there is one: nothing is made before the first object is written."""

    place: str
    store: ObjectStore | None
    folder: Path | None
    seconds: float

    async def put(self, path: str, content: bytes) -> None:
        async with self._bounded(path):
            if self.folder is not None:
                await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True, mode=0o700)
            await obstore.put_async(self._opened(path), path, content)
            if self.folder is not None:
                await asyncio.to_thread(_to_disk, self.folder, path)

    async def get(self, path: str) -> bytes:
        async with self._bounded(path):
            reply = await obstore.get_async(self._opened(path), path)
            return bytes(await reply.bytes_async())

    async def read(self, path: str, start: int, size: int) -> bytes:
        async with self._bounded(path):
            return bytes(await obstore.get_range_async(self._opened(path), path, start=start, length=size))

    async def delete(self, path: str) -> None:
        with suppress(ColdObjectMissingError):
            async with self._bounded(path):
                store = self._opened(path)
                if self.folder is not None:
                    await asyncio.to_thread(_remove_torn, self.folder / path)
                await obstore.delete_async(store, path)

    def _opened(self, path: str) -> ObjectStore:
        if self.store is None:
            if self.folder is None or not self.folder.is_dir():
                raise ColdObjectMissingError(self.place, path)
            self.store = LocalStore(self.folder)
        return self.store

    @asynccontextmanager
    async def _bounded(self, path: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.seconds):
                yield
        except NO_OBJECT as error:
            raise ColdObjectMissingError(self.place, path) from error
        except (BaseError, OSError, TimeoutError) as error:
            raise ColdStoreUnavailableError(self.place, _why(error)) from error


def open_cold_store(settings: MemorySettings, home: Path) -> ColdObjects:
    """Opens no connection and makes no folder yet."""
    if settings.cold_url.startswith("s3://"):
        bucket = Bucket(
            settings.cold_url,
            settings.cold_endpoint,
            settings.cold_region,
            settings.cold_access_key_id,
            settings.cold_secret_access_key,
        )
        return ColdObjects(settings.cold_url, open_bucket(bucket), None, settings.cold_timeout)
    folder = Path(unquote(urlsplit(settings.cold_url).path)) if settings.cold_url else home / "cold"
    return ColdObjects(str(folder), None, folder, settings.cold_timeout)


def _to_disk(folder: Path, path: str) -> None:
    """The file, and the names of the folders on the way to it, survive a power cut. Blocks."""
    file = folder / path
    for place in (file, *(parent for parent in file.parents if parent == folder or folder in parent.parents)):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_torn(file: Path) -> None:
    """What a death left of writing it, under the name that it has until it is whole. Blocks."""
    for torn in file.parent.glob(f"{file.name}#*"):
        torn.unlink(missing_ok=True)


def _why(error: BaseException) -> str:
    """Its kind: what a store says may name its credentials."""
    if any(sign in str(error).lower() for sign in FULL):
        return f"it has no room: {type(error).__name__}"
    return "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
