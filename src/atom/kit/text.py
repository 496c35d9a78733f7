"""Text that PostgreSQL and people can take."""

import json
import math
from typing import Any


def clean(text: str) -> str:
    """Without NUL (PostgreSQL refuses it) and with lone surrogates replaced (no UTF-8 form)."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def clean_json(value: Any) -> Any:
    """`clean` for every string of a JSON-able value. NaN and infinities, which JSON does not have, become words."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {clean(str(key)): clean_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(item) for item in value]
    return value


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, with a visible cut."""
    return text if len(text) <= limit else text[: limit - 1] + "\u2026"


def canonical_json(value: Any) -> str:
    """One spelling for one value: sorted keys, no spaces. For digests and fingerprints."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
