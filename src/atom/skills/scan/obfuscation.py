"""Texts that are written so that nobody can read them."""

import base64
import binascii
import math
import re
from collections import Counter

from atom.skills.findings import Rule, Severity
from atom.skills.scan.patterns import pattern
from atom.skills.scan.places import Judged

BLOB = 300  # characters without a space, beyond which a text is none that a person wrote
BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
HEX = re.compile(r"(0x)?[0-9a-fA-F]+")
PICTURES = ("iVBOR", "/9j/", "R0lGOD", "UklGR", "AAABAA", "d09GM", "d09GR", "JVBER", "PHN2Z", "T1RUT", "AAEAA")
RANDOM = 4.3  # bits a character: compressed or encrypted bytes have more, names and paths less
STYLED = re.compile("[\U0001d400-\U0001d7ff\uff21-\uff3a\uff41-\uff5a]{2,}[ \t]*[(.=]")
ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})|\\u00([0-9a-fA-F]{2})|\\([0-7]{3})")
TELLING = pattern(
    r"https?://|\b(import|exec|eval|system|subprocess|socket|popen|curl|wget|bash|/bin/sh|powershell|require|"
    r"child_process|builtins)\b|"
    r"\.ssh|\.aws|/etc/|os\.environ|\bsh -c\b|requests"
)


def of_text(text: str) -> Judged | None:
    """A long blob in a literal."""
    if len(text) < BLOB or text.startswith(PICTURES) or text.startswith("data:"):
        return None
    said = text.replace("\n", "").replace("\r", "").strip()
    if len(set(said)) < 12 or not (HEX.fullmatch(said) or (BASE64.fullmatch(said) and entropy(said) > RANDOM)):
        return None
    return Judged(
        Rule.SCAN_OBFUSCATION,
        Severity.WARNING,
        f"A text of {len(text)} encoded characters: nobody can read what it says.",
    )


def unveiled(text: str) -> str:
    """What to say of a text that had to be decoded to be read; empty when it is nothing to worry about."""
    found = TELLING.search(text[:20_000])
    return f"It spells out {found[0]!r} in a way that hides it." if found is not None else ""


def is_words(escaped: str) -> bool:
    """Letters that were written as escapes; bytes of a file's head are not."""
    codes = [int(a or b or "0", 16) if a or b else int(c, 8) for a, b, c in ESCAPE.findall(escaped)]
    return bool(codes) and sum(32 <= code < 127 for code in codes) >= 0.9 * len(codes)


def decoded(text: str) -> str | None:
    """What base64 or hex says, where that is a text."""
    said = "".join(text.split())
    try:
        data = (
            binascii.unhexlify(said)
            if HEX.fullmatch(said) and len(said) % 2 == 0
            else base64.b64decode(said + "=" * (-len(said) % 4))
        )
    except (ValueError, binascii.Error):
        return None
    found = data[:65_536].decode("utf-8", "replace")
    return found if found and found.count("\ufffd") <= len(found) // 20 else None


def entropy(text: str) -> float:
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
