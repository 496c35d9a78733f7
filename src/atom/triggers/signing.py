"""Standard Webhooks: who sent a delivery, and when. Pure. <https://www.standardwebhooks.com>"""

import base64
import hashlib
import hmac
import os
import re

PREFIX = "whsec_"
SECRET_BYTES = 32
TOLERANCE_SECONDS = 300
MAX_ID = 200
MAX_SIGNATURES = 10
ID = re.compile(r"[\x21-\x7e]{1,200}")
DIGITS = re.compile(r"[0-9]{1,12}")
STAND_IN = PREFIX + base64.b64encode(bytes(SECRET_BYTES)).decode()  # compared with where there is no trigger


def new_secret() -> str:
    return PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def accepted(secret: str, *, message_id: str, timestamp: str, signatures: str, body: bytes, now: float) -> bool:
    """Whether one of the signatures is ours, and the time within five minutes of `now`. Compares in constant time."""
    if not ID.fullmatch(message_id) or not DIGITS.fullmatch(timestamp):
        return False
    wanted = sign(secret, message_id, int(timestamp), body).encode()
    offered = signatures.split(" ")[:MAX_SIGNATURES]
    matches = [hmac.compare_digest(one.encode("utf-8", "replace"), wanted) for one in offered]
    return any(matches) and abs(now - int(timestamp)) <= TOLERANCE_SECONDS and str(int(timestamp)) == timestamp
