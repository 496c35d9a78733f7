"""The key that signs anchors: a file that the operator brings, or one that Atom makes in its home."""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from atom.errors import InvalidError, UnavailableError
from atom.settings import AuditSettings

MANAGED = "audit.key"  # in Atom's home, made for the first anchor when nothing else is configured
FORM = "An Ed25519 private key in PEM, without a password (`openssl genpkey -algorithm ed25519`)."


class AuditKeyMissingError(UnavailableError):
    code = "audit_key_missing"
    retryable = False


class AuditKeyInvalidError(InvalidError):
    code = "audit_key_invalid"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """`load` reads anew, so that a mounted secret that changes needs no restart."""

    settings: AuditSettings
    home: Path

    @property
    def file(self) -> Path:
        return self.settings.key_file or self.home / MANAGED

    def load(self) -> Ed25519PrivateKey:
        """Raises AuditKeyMissingError, AuditKeyInvalidError."""
        if self.settings.key_file is None and not self.file.exists():
            self._make()
        try:
            key = load_pem_private_key(self.file.read_bytes(), password=None)
        except FileNotFoundError:
            raise AuditKeyMissingError(
                f"The key that signs anchors is not at {self.file}.", hint="Put it back, or set ATOM_AUDIT__KEY_FILE."
            ) from None
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise AuditKeyInvalidError(f"{self.file} cannot be read ({type(error).__name__}).", hint=FORM) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise AuditKeyInvalidError(f"{self.file} is another kind of key.", hint=FORM)
        return key

    def public(self) -> str:
        """The public half, in PEM."""
        public = self.load().public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    def _make(self) -> None:
        """Whole or not at all; of two processes that make one, the first wins. Raises AuditKeyMissingError."""
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        fresh = self.file.with_name(f"{MANAGED}.{os.getpid()}.new")
        try:
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(pem)
                out.flush()
                os.fsync(out.fileno())
            try:
                os.link(fresh, self.file)
            except FileExistsError:
                return
            finally:
                fresh.unlink(missing_ok=True)
        except OSError as error:
            raise AuditKeyMissingError(
                f"No key can be made at {self.file} ({type(error).__name__}).",
                hint="Let this user write there, or set ATOM_AUDIT__KEY_FILE.",
            ) from None
