"""Provider keys at rest: envelope encryption, key-encryption keys, their rotation."""
