"""Which files of a bundle are text."""

import codecs
from pathlib import PurePosixPath

SUFFIXES = frozenset({
    ".bash", ".cfg", ".cjs", ".conf", ".css", ".csv", ".html", ".ini", ".js", ".json", ".jsonl", ".jsx",
    ".markdown", ".md", ".mjs", ".ps1", ".py", ".rb", ".rs", ".rst", ".sh", ".sql", ".toml", ".ts",
    ".tsx", ".txt", ".xml", ".yaml", ".yml", ".zsh",
})  # fmt: skip
UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def text_of(path: str, data: bytes) -> str | None:
    """The text of a file without its byte order mark, bytes that are no UTF-8 replaced; None when it is binary."""
    for mark, encoding in UTF16.items():
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    if b"\0" in data and PurePosixPath(path).suffix.lower() not in SUFFIXES:
        return None
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
