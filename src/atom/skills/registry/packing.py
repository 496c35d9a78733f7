"""A bundle as one piece of bytes that unpacks to the same files, or does not unpack at all."""

import json
from types import MappingProxyType
from typing import Any

from atom.kit import packing
from atom.kit.packing import NotWhatWasPackedError, Packed
from atom.skills.bundle.limits import LIMITS, MB
from atom.skills.bundle.models import Bundle, Form, Member
from atom.skills.registry.errors import SkillCorruptError

HEAD = 8  # bytes that hold the length of the list of files
MOST = LIMITS.unpacked_bytes + 4 * MB  # with the list: 500 paths of 1 KB


def pack(bundle: Bundle) -> Packed:
    listed = [[path, member.executable, len(member.data)] for path, member in bundle.files.items()]
    head = json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()
    return packing.pack(
        b"".join([len(head).to_bytes(HEAD, "big"), head, *(member.data for member in bundle.files.values())])
    )


def unpack(packed: Packed, *, manifest: str, form: str, digest: str) -> Bundle:
    """Raises SkillCorruptError unless the content is that of `digest`."""
    try:
        raw = packing.unpack(packed, most=MOST)
    except NotWhatWasPackedError as error:
        raise SkillCorruptError(f"A stored skill is damaged: {error}") from error
    if len(raw) < HEAD:
        raise SkillCorruptError("A stored skill is damaged: it is shorter than its head.")
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
