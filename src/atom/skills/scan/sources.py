"""What of a bundle is read, and as what."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from atom.skills.bundle.models import Member
from atom.skills.findings import Finding, Place, Rule, Severity
from atom.skills.ports import Language
from atom.skills.scan import markdown
from atom.skills.scan.markdown import Paragraph
from atom.skills.scan.models import Source
from atom.skills.validation.scripts import INTERPRETER, INTERPRETERS, language_of
from atom.skills.validation.texts import text_of

MOST_CHARACTERS = 512 * 1024
TEXTS = frozenset({".md", ".markdown", ".mdx", ".txt", ".rst", ".html", ".htm", ".adoc"})
ALSO = {
    ".ts": Language.JAVASCRIPT, ".tsx": Language.JAVASCRIPT, ".jsx": Language.JAVASCRIPT, ".mts": Language.JAVASCRIPT,
    ".cts": Language.JAVASCRIPT,
    ".zsh": Language.SHELL, ".ksh": Language.SHELL, ".command": Language.SHELL, ".pyw": Language.PYTHON,
    ".pth": Language.PYTHON,
}  # fmt: skip
UNREAD = frozenset({
    ".ps1", ".psm1", ".bat", ".cmd", ".vbs", ".rb", ".pl", ".pm", ".php", ".lua", ".r", ".swift", ".applescript",
    ".go", ".rs", ".c", ".cc", ".cpp", ".java",
    ".kt", ".scala", ".tcl", ".fish", ".ipynb", ".wsf", ".hta", ".reg", ".desktop", ".service", ".timer", ".plist",
    ".mk", ".gradle",
})  # fmt: skip
PROGRAMS = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm")
PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")
OPAQUE = frozenset({
    ".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".exe", ".msi", ".jar", ".class", ".node", ".whl", ".deb", ".rpm",
    ".apk", ".dmg", ".pkg", ".scpt", ".bin",
    ".pkl", ".pickle", ".joblib", ".pt", ".pth", ".wasm", ".iso", ".egg", ".gem", ".lnk", ".com", ".scr",
})  # fmt: skip
DOCUMENTS = frozenset({".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub", ".kra", ".sketch"})
HOOKS = frozenset(
    {
        "preinstall",
        "install",
        "postinstall",
        "prepare",
        "prepublish",
        "preuninstall",
        "postuninstall",
        "start",
        "test",
        "build",
    }
)
SCRIPT = re.compile(r'"(\w+)"\s*:')


def read(path: str, member: Member) -> Iterator[Source | Paragraph | Finding]:
    """Of one file. A finding tells that something of it is not read."""
    suffix = PurePosixPath(path).suffix.lower()
    if not member.data:
        return
    if (
        member.data.startswith(PROGRAMS)
        or suffix in OPAQUE - {".pth"}
        or (member.data.startswith(PACKED) and suffix not in DOCUMENTS)
    ):
        message = "A program, an archive or a stored object: nobody can read what it does."
        yield Finding(
            Rule.SCAN_BINARY, Severity.WARNING, Place(path), message, "Leave it out, or put its source in its place."
        )
        return
    text = text_of(path, member.data)
    if text is None:
        return
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    language = _language(path, member, suffix)
    if len(text) > MOST_CHARACTERS:
        if language is not None or suffix in TEXTS or member.executable:
            yield _unread(path, f"more than {MOST_CHARACTERS} characters")
        return
    if language is not None:
        yield Source(path, text, language)
    elif suffix in TEXTS:
        yield from of_text(path, text)
    elif path.rpartition("/")[2] == "package.json":
        yield from _scripts(path, text)
    elif suffix in UNREAD or member.executable or member.data.startswith(b"#!"):
        yield _unread(path, "there is no reader for what it is written in")


def of_text(path: str, text: str) -> Iterator[Source | Paragraph]:
    for part in markdown.parts(text):
        if isinstance(part, Paragraph):
            yield part
        else:
            yield Source(path, part.text, part.language, part.weight, part.line, part.indent)


def _language(path: str, member: Member, suffix: str) -> Language | None:
    """By suffix, else by the first line, whatever the suffix says then."""
    found = language_of(path, member) or ALSO.get(suffix)
    if found is None and (match := INTERPRETER.match(member.data)) is not None:
        return INTERPRETERS.get(match[1], Language.PYTHON)
    return found


def _scripts(path: str, text: str) -> Iterator[Source]:
    """Lines that npm runs, some of them as soon as the package is installed."""
    try:
        found = json.loads(text).get("scripts")
    except (ValueError, AttributeError, RecursionError):
        return
    lines = {match[1]: text.count("\n", 0, match.start()) for match in SCRIPT.finditer(text)}
    for name, line in found.items() if isinstance(found, dict) else ():
        if name in HOOKS and isinstance(line, str):
            yield Source(path, line, Language.SHELL, line=lines.get(name, 0))


def _unread(path: str, why: str) -> Finding:
    return Finding(
        Rule.SCAN_INCOMPLETE, Severity.WARNING, Place(path), f"It was not scanned: {why}.", "Read it yourself."
    )
