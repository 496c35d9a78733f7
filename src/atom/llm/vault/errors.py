"""What can go wrong with the vault. No message carries a secret, a ciphertext or a key-encryption key."""

from atom.errors import UnavailableError


class VaultLockedError(UnavailableError):
    """The key-encryption key is missing or is not the one that the stored keys were sealed with."""

    code = "vault_locked"


class EnvelopeError(VaultLockedError):
    """One stored secret does not open: it was changed, moved from another row, or sealed with a key that is gone."""

    code = "vault_envelope_invalid"


class KekInvalidError(VaultLockedError):
    """A key-encryption key that cannot be used. The message says where it comes from and what form it has."""

    code = "kek_invalid"
