"""Key-encryption keys: from a file, the environment, or a plug-in that speaks to a key management service.

A source is a list: the first key seals, all of them open. A new key is put first, everything is wrapped anew
(`atom keys rotate`), and the old one goes when nothing needs it any more.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from atom.llm.vault.envelope import NONCE_BYTES, SPOILT, KeyEncryptionKey
from atom.llm.vault.errors import EnvelopeError, KekInvalidError, VaultLockedError
from atom.settings import VaultSettings

KEY_BYTES = 32
REMOTE_SECONDS = 5.0
PLUGINS = "atom.kms"
MANAGED = "vault.key"  # in Atom's home, made by the first key that is added when nothing else is configured
FORM = "One key a line, the current one first: 32 random bytes each, in base64 or hex (`openssl rand -base64 32`)."
HEX = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class LocalKek:
    """A key this process holds itself."""

    key: bytes = field(repr=False)

    @property
    def kek_id(self) -> str:
        return hmac.digest(self.key, b"atom/kek-id", hashlib.sha256).hex()[:16]

    async def wrap(self, data_key: bytes, bound: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, data_key, bound)

    async def unwrap(self, wrapped: bytes, bound: bytes) -> bytes:
        try:
            return AESGCM(self.key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            raise EnvelopeError(SPOILT) from None


@dataclass(frozen=True, slots=True)
class RemoteKek:
    """A plug-in's key: its service may be away, or silent."""

    plugin: str
    key: KeyEncryptionKey
    seconds: float = REMOTE_SECONDS

    @property
    def kek_id(self) -> str:
        return self.key.kek_id

    async def wrap(self, data_key: bytes, bound: bytes) -> bytes:
        return await self._in_time(self.key.wrap(data_key, bound))

    async def unwrap(self, wrapped: bytes, bound: bytes) -> bytes:
        return await self._in_time(self.key.unwrap(wrapped, bound))

    async def _in_time(self, asking: Awaitable[bytes]) -> bytes:
        try:
            async with asyncio.timeout(self.seconds):
                return await asking
        except OSError as error:  # TimeoutError is one
            raise _silent(self.plugin, error) from None


@dataclass(frozen=True, slots=True)
class KekSource:
    """Where the keys come from. `load` reads anew, so that a mounted secret that changes needs no restart."""

    settings: VaultSettings
    home: Path

    @property
    def managed(self) -> Path | None:
        """The file that Atom makes and extends itself; None where the operator brings the keys."""
        configured = self.settings.kms or self.settings.kek or self.settings.kek_file
        return None if configured else self.home / MANAGED

    @property
    def name(self) -> str:
        if self.settings.kms:
            return f"the plug-in {self.settings.kms}"
        if self.settings.kek:
            return "ATOM_VAULT__KEK"
        return str(self.settings.kek_file or self.managed)

    def load(self) -> Sequence[KeyEncryptionKey]:
        """At least one. Raises VaultLockedError when there is none: KekInvalidError where one cannot be read."""
        if self.settings.kms:
            return _plugin(self.settings.kms)
        if self.settings.kek:
            return parse(self.settings.kek.get_secret_value(), self.name)
        file = self.settings.kek_file or self.home / MANAGED
        try:
            text = file.read_text(encoding="ascii")
        except FileNotFoundError:
            raise VaultLockedError(
                f"The vault's key is not at {file}.", hint="Put it back, or set ATOM_VAULT__KEK_FILE."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise KekInvalidError(f"{file} cannot be read ({type(error).__name__}).", hint=FORM) from None
        return parse(text, str(file))

    def extend(self) -> None:
        """A new current key in the managed file, the earlier ones kept behind it. Whole or not at all."""
        file = self.managed
        if file is None:
            raise KekInvalidError(f"The keys come from {self.name}.", hint="Put the new key first there.")
        try:
            _put_first(file, base64.b64encode(os.urandom(KEY_BYTES)).decode())
        except OSError as error:
            raise VaultLockedError(
                f"The vault's key cannot be written to {file} ({error.strerror}).",
                hint="Make room for it there, or set ATOM_VAULT__KEK_FILE.",
            ) from None


def _put_first(file: Path, key: str) -> None:
    earlier = file.read_text(encoding="ascii") if file.exists() else ""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        out.write(f"{key}\n{earlier}")
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def parse(text: str, name: str) -> Sequence[LocalKek]:
    """Raises KekInvalidError, which names the line and never shows it."""
    words = [line.strip() for line in re.split(r"[\n,]", text)]
    keys = [LocalKek(_key(word, name, number)) for number, word in enumerate(words, 1) if word]
    if not keys:
        raise KekInvalidError(f"{name} holds no key.", hint=FORM)
    if len({kek.key for kek in keys}) != len(keys):
        raise KekInvalidError(f"{name} holds the same key twice.", hint=FORM)
    return keys


def _key(word: str, name: str, number: int) -> bytes:
    try:
        raw = bytes.fromhex(word) if HEX.fullmatch(word) else base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise KekInvalidError(f"{name}, key {number}: it is not 32 bytes in base64 or hex.", hint=FORM)
    if len(set(raw)) < 8:
        raise KekInvalidError(f"{name}, key {number}: it is not random.", hint=FORM)
    return raw


def _plugin(name: str) -> Sequence[KeyEncryptionKey]:
    found = entry_points(group=PLUGINS)
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none"
        raise KekInvalidError(
            f"ATOM_VAULT__KMS: there is no plug-in {name!r}.", hint=f"Installed ones of the group {PLUGINS}: {known}."
        )
    try:
        make = found[name].load()
    except (ImportError, AttributeError) as error:
        raise KekInvalidError(f"The plug-in {name} cannot be loaded ({type(error).__name__}).") from None
    try:
        keys: Sequence[KeyEncryptionKey] = make()
    except OSError as error:
        raise _silent(name, error) from None
    if not keys:
        raise VaultLockedError(f"The plug-in {name} gives no key.")
    return [RemoteKek(name, key) for key in keys]


def _silent(name: str, error: OSError) -> VaultLockedError:
    return VaultLockedError(
        f"The plug-in {name} does not answer ({type(error).__name__}).", hint="Can this machine reach its service?"
    )
