"""Cuts what looks like a secret out of text that people will read."""

import base64
import json
import re
from itertools import groupby
from typing import Any
from urllib.parse import quote

MASK = "********"
PATTERNS = (  # each is linear in the text: what an attacker writes into it must not cost time
    re.compile(r"\batom_[a-z0-9]+_[A-Za-z0-9]+_[A-Za-z0-9]{20,}_[0-9a-f]{8}\b"),  # our own API keys
    re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"),  # OpenAI, Anthropic and many that copy them
    re.compile(r"(?<=://)[^\s:/@]{0,256}:[^\s\"'<>]{1,256}(?=@)"),  # user:password in a URL, also unescaped ones
    re.compile(r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(?i)(?<=password=)(?:'(?:[^'\\]|\\.){1,512}'|[^\s'\"&;,*]+)"),  # libpq's conninfo, and queries of URLs
    re.compile(r"(?i)(?<=(?:api_key|api-key)=)[^\s'\"&;,*]+"),
    re.compile(r"(?i)(?<=token=)[^\s'\"&;,*]{8,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,2048}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]*"),  # JSON web tokens
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}"),
)
SECRET_KEYS = re.compile(r"(?i)(api[_-]?key|authorization|password|passwd|secret|token)$")


PIECE = 8  # characters of a secret in a row: what providers quote of a key in place of the whole


def cut(text: str, secret: str) -> str:
    """`text` without `secret`, without its base64 and percent forms, and without any piece of 8 characters of them."""
    forms = {secret, base64.b64encode(secret.encode()).decode(), quote(secret, safe=""), json.dumps(secret)[1:-1]}
    hidden = bytearray(len(text))
    for form in forms:
        size = min(PIECE, len(form)) or 1
        pieces = {form[start : start + size] for start in range(len(form) - size + 1)} - {""}
        for start in range(len(text) - size + 1):
            if text[start : start + size] in pieces:
                hidden[start : start + size] = b"\x01" * size
    return "".join(
        MASK if gone else "".join(letter for letter, _ in run)
        for gone, run in groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])
    )


def redact(value: Any, *, depth: int = 4) -> Any:
    """`value` with secrets masked; containers are walked to `depth`, and are text below it."""
    if isinstance(value, str):
        for pattern in PATTERNS:
            value = pattern.sub(MASK, value)
        return value
    if isinstance(value, dict | list | tuple) and depth == 0:
        return redact(str(value))
    if isinstance(value, dict):
        return {k: MASK if v and SECRET_KEYS.search(str(k)) else redact(v, depth=depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item, depth=depth - 1) for item in value]
    return value
