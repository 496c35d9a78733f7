"""A secret at rest: encrypted with a data key of its own, which is wrapped by a key-encryption key.

AES-256-GCM, 96-bit random nonces (NIST SP 800-38D). A data key seals one version of one secret, so that no key ever
comes near the bound of 2^32 random nonces. What the envelope belongs to is bound as associated data: an envelope that
is copied to another row, provider or version does not open.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from atom.llm.vault.errors import EnvelopeError

FORMAT = 1
ALGORITHM = "A256GCM"
NONCE_BYTES = 12
DATA_KEY_BYTES = 32
FIELDS = frozenset({"v", "alg", "kek_id", "wrapped", "nonce", "ct"})
SPOILT = "A stored key does not open: it was changed, or belongs to another row."


class KeyEncryptionKey(Protocol):
    """Wraps data keys. `kek_id` names it without telling anything about it. Both methods may call a remote service.

    `unwrap` raises EnvelopeError for anything that `wrap` did not make with the same `bound`.
    """

    @property
    def kek_id(self) -> str: ...

    async def wrap(self, data_key: bytes, bound: bytes) -> bytes: ...

    async def unwrap(self, wrapped: bytes, bound: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Place:
    """What a secret belongs to: the row's id, the provider, and which version of the secret it is."""

    id: str
    provider: str
    version: int

    def bound(self, kind: str, kek_id: str = "") -> bytes:
        """Associated data. Length-prefixed: no two places give the same bytes."""
        parts = [f"atom/{kind}/{FORMAT}", ALGORITHM, kek_id, self.id, self.provider, str(self.version)]
        return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


async def seal(kek: KeyEncryptionKey, place: Place, secret: bytes) -> dict[str, Any]:
    """The envelope as it is stored."""
    data_key, nonce = AESGCM.generate_key(bit_length=8 * DATA_KEY_BYTES), os.urandom(NONCE_BYTES)
    ciphertext = AESGCM(data_key).encrypt(nonce, secret, place.bound("secret"))
    wrapped = await kek.wrap(data_key, place.bound("data-key", kek.kek_id))
    return _envelope(kek.kek_id, wrapped, _text(nonce), _text(ciphertext))


async def unseal(kek: KeyEncryptionKey, place: Place, envelope: Mapping[str, Any]) -> bytes:
    """The secret. Raises EnvelopeError, and VaultLockedError when the remote service of a key is away."""
    data_key = await _data_key(kek, place, envelope)
    nonce, ciphertext = _bytes(envelope["nonce"]), _bytes(envelope["ct"])
    if len(nonce) != NONCE_BYTES:
        raise EnvelopeError(SPOILT)
    try:
        return AESGCM(data_key).decrypt(nonce, ciphertext, place.bound("secret"))
    except InvalidTag:
        raise EnvelopeError(SPOILT) from None


async def rewrap(
    old: KeyEncryptionKey, new: KeyEncryptionKey, place: Place, envelope: Mapping[str, Any]
) -> dict[str, Any]:
    """The same secret under another key-encryption key; only the data key is opened."""
    data_key = await _data_key(old, place, envelope)
    wrapped = await new.wrap(data_key, place.bound("data-key", new.kek_id))
    return _envelope(new.kek_id, wrapped, envelope["nonce"], envelope["ct"])


def _envelope(kek_id: str, wrapped: bytes, nonce: str, ciphertext: str) -> dict[str, Any]:
    return {
        "v": FORMAT, "alg": ALGORITHM, "kek_id": kek_id, "wrapped": _text(wrapped), "nonce": nonce, "ct": ciphertext,
    }  # fmt: skip


async def _data_key(kek: KeyEncryptionKey, place: Place, envelope: Mapping[str, Any]) -> bytes:
    known = envelope.keys() == FIELDS and (envelope["v"], envelope["alg"]) == (FORMAT, ALGORITHM)
    if not known or isinstance(envelope["v"], bool) or envelope["kek_id"] != kek.kek_id:
        raise EnvelopeError(SPOILT)
    data_key = await kek.unwrap(_bytes(envelope["wrapped"]), place.bound("data-key", kek.kek_id))
    if len(data_key) != DATA_KEY_BYTES:
        raise EnvelopeError(SPOILT)
    return data_key


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: object) -> bytes:
    """Strict: the bits of base64 that carry nothing must be as they were written, too."""
    try:
        raw = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or _text(raw) != text:
        raise EnvelopeError(SPOILT)
    return raw
