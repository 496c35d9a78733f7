"""A bundle as one piece of bytes that unpacks to the same files, or does not unpack at all."""

import hashlib
import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import zstandard

from atom.skills.bundle.limits import LIMITS, MB
from atom.skills.bundle.models import Bundle, Form, Member
from atom.skills.registry.errors import SkillCorruptError

LEVEL = 9  # as the texts of episodes are packed
HEAD = 8  # bytes that hold the length of the list of files
MOST = LIMITS.unpacked_bytes + 4 * MB  # with the list: 500 paths of 1 KB


@dataclass(frozen=True, slots=True)
class Packed:
    """`sha256` and `unpacked` (bytes) are of what was packed."""

    body: bytes
    sha256: bytes
    unpacked: int


def pack(bundle: Bundle) -> Packed:
    listed = [[path, member.executable, len(member.data)] for path, member in bundle.files.items()]
    head = json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()
    raw = b"".join([len(head).to_bytes(HEAD, "big"), head, *(member.data for member in bundle.files.values())])
    return Packed(zstandard.ZstdCompressor(level=LEVEL).compress(raw), hashlib.sha256(raw).digest(), len(raw))


def unpack(packed: Packed, *, manifest: str, form: str, digest: str) -> Bundle:
    """Raises SkillCorruptError unless the content is that of `digest`."""
    raw = _raw(packed)
    start = HEAD + int.from_bytes(raw[:HEAD], "big")
    listed: list[list[Any]] = json.loads(raw[HEAD:start])
    files: dict[str, Member] = {}
    for path, executable, size in listed:
        files[path] = Member(raw[start : start + size], executable)
        start += size
    bundle = Bundle(MappingProxyType(files), manifest, Form(form))
    if bundle.digest != digest:
        raise SkillCorruptError("A stored skill is not what was imported (SHA-256 of its files).")
    return bundle


def _raw(packed: Packed) -> bytes:
    if not HEAD <= packed.unpacked <= MOST:
        raise SkillCorruptError(f"A stored skill says that it unpacks to {packed.unpacked} bytes.")
    try:
        if zstandard.frame_content_size(packed.body) != packed.unpacked:  # it decides how much memory is taken
            raise SkillCorruptError("A stored skill has another header than what was packed.")
        raw = zstandard.ZstdDecompressor().decompress(packed.body, max_output_size=packed.unpacked)
    except zstandard.ZstdError as error:
        raise SkillCorruptError(f"A stored skill does not unpack ({error}).") from error
    if hashlib.sha256(raw).digest() != packed.sha256:
        raise SkillCorruptError("A stored skill is not what was imported (SHA-256).")
    return raw
