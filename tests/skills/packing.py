"""Bundles of every kind, also such that no archiver writes."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping

import zstandard

MANIFEST = b"---\nname: good\ndescription: Does good. Use it when good is wanted.\n---\n\n# Good\n\nDo good.\n"
FILES = {"SKILL.md": MANIFEST, "scripts/run.py": b"print('good')\n", "references/a.md": b"# A\n"}
SQUEEZED: Mapping[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def zipped(files: Mapping[str, bytes] = FILES, *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    """Also with names that are there twice."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, data in (("SKILL.md", MANIFEST), *members):
            archive.writestr(name, data)
    return out.getvalue()


def unix(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    """A zip whose member `old` is called `new`, of the same length: also what `zipfile` would not write."""
    assert len(old) == len(new)
    assert data.count(old) == 2
    return data.replace(old, new)


def patched(data: bytes, *, directory: Mapping[int, tuple[str, int]], local: Mapping[int, tuple[str, int]]) -> bytes:
    """A zip with other numbers in the headers of its last member; offsets count from the header's signature."""
    changed = bytearray(data)
    for signature, changes in ((b"PK\x01\x02", directory), (b"PK\x03\x04", local)):
        at = data.rindex(signature)
        for offset, (kind, value) in changes.items():
            struct.pack_into(kind, changed, at + offset, value)
    return bytes(changed)


def tarred(files: Mapping[str, bytes] = FILES, *, form: int = tarfile.PAX_FORMAT) -> bytes:
    return tar_of(*((entry(name, size=len(data)), data) for name, data in files.items()), manifest=False, form=form)


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, size, link, mode
    return info


def tar_of(*members: tuple[tarfile.TarInfo, bytes], manifest: bool = True, form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        if manifest:
            archive.addfile(entry("SKILL.md", size=len(MANIFEST)), io.BytesIO(MANIFEST))
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def raw_tar(*blocks: bytes) -> bytes:
    """A tar of headers and contents as they are, behind a good SKILL.md."""
    return tar_of()[: 512 + 512] + b"".join(blocks) + bytes(1024)


def header(name: bytes, kind: bytes, size: bytes) -> bytes:
    """One tar header with the size field as given (12 bytes), and a right checksum."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[124 : 124 + len(size)], block[156:157] = b"0000644\0", size, kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def bomb_zip(size: int) -> bytes:
    return zip_of(("assets/zeros.bin", bytes(size)))


def overlapping_zip(copies: int, size: int) -> bytes:
    """One packed kernel that `copies` members of the directory share (as the bombs of David Fifield do)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = packer.compress(bytes(size)) + packer.flush()
    crc = zlib.crc32(bytes(size))
    name = b"a/0000"
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(kernel), size, len(name), 0) + name + kernel
    central = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(kernel), size, 6, 0, 0, 0, 0, 0, 0)
        + b"a/%04d" % number
        for number in range(copies)
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, copies, copies, len(central), len(local), 0)
    return local + central + end
