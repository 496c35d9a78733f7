"""The bytes inside gzip, bzip2, xz and zstandard, no more than are allowed."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator

import zstandard

from atom.skills.bundle.collecting import check_size
from atom.skills.bundle.limits import MB, Limits
from atom.skills.errors import ArchiveBrokenError

CHUNK = 64 * 1024
SLICE = 256  # bytes of zstandard at a time: they become 8 MB at most
WINDOW = 64 * MB  # what unpacking may take of memory, whatever the header asks for
TAR_HEADERS = 4 * MB  # of a tar beside its files
BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstandard.ZstdError, MemoryError)


def unpacked(data: bytes, limits: Limits) -> bytes:
    """`data`, or what is packed in it. Raises BundleTooLargeError, ArchiveBrokenError."""
    opener = _opener(data)
    if opener is None:
        return data
    whole = Limits(unpacked_bytes=limits.unpacked_bytes + TAR_HEADERS, ratio=limits.ratio, ratio_from=limits.ratio_from)
    found = bytearray()
    try:
        for chunk in opener(data):
            found += chunk
            check_size(len(found), len(data), whole, "")
    except BROKEN as error:
        raise ArchiveBrokenError(f"It cannot be unpacked ({error}).", problem="broken", fix="Pack it again.") from error
    return bytes(found)


def is_packed(data: bytes) -> bool:
    return _opener(data) is not None


def _opener(data: bytes) -> Callable[[bytes], Iterator[bytes]] | None:
    return next((opener for magic, opener in _MAGIC.items() if data.startswith(magic)), None)


def _read(stream: io.BufferedIOBase) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _gzip(data: bytes) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        yield from _read(stream)


def _bzip2(data: bytes) -> Iterator[bytes]:
    with bz2.BZ2File(io.BytesIO(data)) as stream:
        yield from _read(stream)


def _zstandard(data: bytes) -> Iterator[bytes]:
    """Frame by frame: the reader of `zstandard` takes a frame that is cut off for one that ends."""
    at = 0
    while at < len(data):
        frame = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
        while not frame.eof:
            if at >= len(data):
                raise EOFError("it ends in the middle")
            yield frame.decompress(data[at : at + SLICE])
            at += len(data[at : at + SLICE]) - len(frame.unused_data)


def _xz(data: bytes) -> Iterator[bytes]:
    """One stream: `lzma.LZMAFile` has no bound on memory."""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW)
    chunk = decompressor.decompress(data, CHUNK)
    while chunk or not decompressor.eof:
        if not chunk and decompressor.needs_input:
            raise EOFError("it ends in the middle")
        yield chunk
        chunk = b"" if decompressor.eof else decompressor.decompress(b"", CHUNK)
    if decompressor.unused_data.strip(b"\0"):
        raise ValueError("there is more behind its end")


_MAGIC: dict[bytes, Callable[[bytes], Iterator[bytes]]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": _bzip2,
    b"\xfd7zXZ\x00": _xz,
    b"\x28\xb5\x2f\xfd": _zstandard,
}
