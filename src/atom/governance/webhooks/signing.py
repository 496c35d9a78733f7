"""Standard Webhooks (standardwebhooks.com): what is signed, and how. Pure."""

import base64
import binascii
import hashlib
import hmac
import os
import random
from collections.abc import Mapping

PREFIX = "whsec_"
SECRET_BYTES = 32
LEAST, MOST = 24, 64  # bytes of a secret, as the specification has it
FIRST_SECONDS = 5.0
LONGEST_SECONDS = 3600.0


def new_secret() -> str:
    return PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """Raises ValueError for what is no secret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if not secret.startswith(PREFIX) or not LEAST <= len(key) <= MOST:
        raise ValueError(f"not {PREFIX} and {LEAST} to {MOST} bytes")
    return key


def headers(secret: str, id_: str, at: int, body: bytes) -> Mapping[str, str]:
    """`at`: seconds since 1970. The id stays the same in every try, so that a receiver can drop what it has."""
    signed = hmac.digest(key_of(secret), f"{id_}.{at}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def wait_after(attempts: int, chance: random.Random) -> float:
    """Seconds until the next try: doubled each time, up to an hour, half of it by chance."""
    full = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(max(attempts, 1) - 1, 20))
    return full / 2 + chance.random() * full / 2
