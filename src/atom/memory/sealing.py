"""Packed texts for the cold store: encrypted with a key of their own, so that without the key they are gone."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from atom.kit.packing import Packed
from atom.memory.errors import BodyCorruptError

NONCE = bytes(12)  # each key seals one body
KEY_BITS = 256


@dataclass(frozen=True, slots=True)
class Sealed:
    """`stored_sha256`: of `stored`, the bytes as they lie in the cold store."""

    stored: bytes
    key: bytes
    stored_sha256: bytes


def seal(episode_id: UUID, packed: Packed) -> Sealed:
    key = AESGCM.generate_key(KEY_BITS)
    stored = AESGCM(key).encrypt(NONCE, packed.body, episode_id.bytes)
    return Sealed(stored, key, hashlib.sha256(stored).digest())


def unseal(episode_id: UUID, sealed: Sealed, *, sha256: bytes, unpacked: int) -> Packed:
    """Raises BodyCorruptError unless it is to the bit what was sealed, and for this episode."""
    if hashlib.sha256(sealed.stored).digest() != sealed.stored_sha256:
        raise BodyCorruptError("what the cold store has is not what was written (SHA-256).")
    try:
        return Packed(AESGCM(sealed.key).decrypt(NONCE, sealed.stored, episode_id.bytes), sha256, unpacked)
    except InvalidTag as error:
        raise BodyCorruptError("its key does not open it.") from error
