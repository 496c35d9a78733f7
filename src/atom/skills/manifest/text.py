"""The text of a SKILL.md, whatever it is encoded in."""

import codecs
from dataclasses import dataclass

from atom.skills.errors import ManifestUnreadableError
from atom.skills.findings import Finding, Place, Rule, Severity

UNREADABLE = 0.1  # of its characters; beyond, it is no text in another encoding but something else
UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass(frozen=True, slots=True)
class Text:
    """`text` has no byte order mark, and lines end in `\\n`."""

    text: str
    findings: tuple[Finding, ...]


def decode(data: bytes, file: str) -> Text:
    """Raises ManifestUnreadableError when `data` is empty or no text."""
    text, findings = _decoded(data, file)
    if not text.strip():
        raise ManifestUnreadableError("It is empty.", problem="empty", fix="Write what the skill does.", member=file)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        findings.append(
            Finding(
                Rule.TEXT_CRLF, Severity.INFO, Place(file), "Lines end as on Windows.", "Save it with LF.", mended=True
            )
        )
    return Text(text, tuple(findings))


def _decoded(data: bytes, file: str) -> tuple[str, list[Finding]]:
    for mark, encoding in UTF16.items():
        if data.startswith(mark):
            return _utf16(data[len(mark) :], encoding, file)
    findings = []
    if data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
        findings.append(_encoded(Rule.TEXT_BOM, "It begins with a byte order mark.", file))
    try:
        return data.decode("utf-8"), findings
    except UnicodeDecodeError as error:
        return _replaced(data, error, file, findings)


def _utf16(data: bytes, encoding: str, file: str) -> tuple[str, list[Finding]]:
    try:
        return data.decode(encoding), [_encoded(Rule.TEXT_UTF16, "It is UTF-16.", file)]
    except UnicodeDecodeError as error:
        raise _no_text(file) from error


def _replaced(data: bytes, error: UnicodeDecodeError, file: str, findings: list[Finding]) -> tuple[str, list[Finding]]:
    text = data.decode("utf-8", "replace")
    if text.count("\ufffd") > UNREADABLE * len(text):
        raise _no_text(file) from error
    before = data[: error.start].decode("utf-8")
    place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
    message = f"Byte 0x{data[error.start]:02x} is no UTF-8."
    return text, [*findings, Finding(Rule.TEXT_NOT_UTF8, Severity.ERROR, place, message, "Save the file as UTF-8.")]


def _encoded(rule: Rule, message: str, file: str) -> Finding:
    return Finding(
        rule,
        Severity.ERROR,
        Place(file, 1, 1),
        message,
        "Save the file as UTF-8 without a byte order mark.",
        mended=True,
    )


def _no_text(file: str) -> ManifestUnreadableError:
    return ManifestUnreadableError("It is no text.", problem="no_text", fix="Save it as UTF-8.", member=file)
