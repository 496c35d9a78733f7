"""API keys as text: `atom_key_<key id>_<secret>_<crc32>`. Prefix and checksum let scanners find leaked ones."""

import hashlib
import secrets
import string
import zlib
from dataclasses import dataclass

ALPHABET = string.ascii_letters + string.digits
KEY_ID_LENGTH = 12
SECRET_LENGTH = 43  # base62: 256 bits, so that a plain SHA-256 is enough to store it


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is shown once; `key_id` and `secret_hash` are stored."""

    text: str
    key_id: str
    secret_hash: bytes


def generate() -> Token:
    key_id = _random(KEY_ID_LENGTH)
    secret = _random(SECRET_LENGTH)
    body = f"atom_key_{key_id}_{secret}"
    return Token(f"{body}_{_checksum(body)}", key_id, hash_secret(secret))


def parse(text: str) -> tuple[str, str] | None:
    """Key id and secret, or None for what cannot be one of our keys (decided without a database)."""
    parts = text.split("_")
    if len(parts) != 5 or parts[:2] != ["atom", "key"] or not text.isascii():
        return None
    body = text.rpartition("_")[0]
    if len(parts[2]) != KEY_ID_LENGTH or len(parts[3]) != SECRET_LENGTH or _checksum(body) != parts[4]:
        return None
    return parts[2], parts[3]


def hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
