"""Text as tools show it to a model: decoded, numbered, cut where it is too long, and saying so."""

from collections.abc import Sequence
from dataclasses import dataclass

from atom.errors import InvalidError
from atom.tools.ports import SourceLine

MAX_LINE_CHARS = 2_000
MAX_SHOWN_CHARS = 40_000
SNIFFED_BYTES = 8_192
REPLACEMENT = "\ufffd"
# Decoders that are linear and yield text. Python also knows `idna` or `unicode_escape`: never for strangers.
CHARSETS = {
    "utf-8", "utf_8_sig", "ascii", "utf-16", "utf-16-le", "utf-16-be",
    *(f"iso8859-{part}" for part in range(1, 17)), *(f"cp125{page}" for page in range(9)),
    "koi8-r", "koi8-u", "shift_jis", "cp932", "euc_jp", "iso2022_jp", "gb2312", "gbk", "gb18030", "big5", "euc_kr",
    "cp949",
}  # fmt: skip


class BinaryContentError(InvalidError):
    """The bytes are not text; the message says what they look like."""

    code = "binary_content"


@dataclass(frozen=True, slots=True)
class Decoded:
    """`replaced` counts the places that could not be decoded."""

    text: str
    encoding: str
    replaced: int


@dataclass(frozen=True, slots=True)
class Shown:
    content: str
    sources: tuple[SourceLine, ...]


def decode_text(content: bytes, encoding: str = "utf-8") -> Decoded:
    """Text without NUL characters. Raises BinaryContentError for what is plainly not text."""
    name = "utf_8_sig" if encoding == "utf-8" else encoding
    wide = encoding.startswith("utf-16")
    if not wide and content.startswith((b"\xff\xfe", b"\xfe\xff")):
        name, encoding, wide = "utf-16", "utf-16", True
    if not wide and b"\0" in content[:SNIFFED_BYTES]:
        raise BinaryContentError(f"it has NUL bytes ({len(content)} bytes in all).")
    own = content.count(REPLACEMENT.encode()) if encoding == "utf-8" else 0  # already so in the source: not our doing
    text = content.decode(name, errors="replace").replace("\0", REPLACEMENT)  # PostgreSQL stores no NUL
    replaced = text.count(REPLACEMENT) - own
    if replaced > max(8, len(text) // 3):
        raise BinaryContentError(f"most of it does not decode as {encoding} ({len(content)} bytes in all).")
    return Decoded(text, encoding.upper(), max(0, replaced))


def split_lines(text: str) -> list[str]:
    """Lines as `grep -n` counts them: a line feed ends one; a carriage return before it is not part of the text."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def cut_line(line: str) -> str:
    """The line, or its beginning with the length that was there."""
    return (
        line if len(line) <= MAX_LINE_CHARS else f"{line[:MAX_LINE_CHARS]} [cut: the line has {len(line)} characters]"
    )


def number_lines(path: str, lines: Sequence[str], *, first: int) -> Shown:
    """`path:LINE: text` from line `first` on, as many as fit (at least one), and the same lines as sources."""
    rows: list[str] = []
    sources: list[SourceLine] = []
    size = 0
    for number, line in enumerate(lines, start=first):
        row = f"{path}:{number}: {cut_line(line)}"
        size += len(row) + 1
        if rows and size > MAX_SHOWN_CHARS:
            break
        rows.append(row)
        sources.append(SourceLine(path, number, line[:MAX_LINE_CHARS]))
    return Shown("\n".join(rows), tuple(sources))
