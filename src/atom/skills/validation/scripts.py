"""Syntax of the scripts of a bundle. Python is only parsed (`ast`), never compiled or imported."""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from atom.skills.bundle.models import Bundle, Member
from atom.skills.findings import Finding, Place, Rule, Severity
from atom.skills.lines import Lines
from atom.skills.ports import Grammars, Language, SyntaxProblem, TooComplexError
from atom.skills.validation.texts import text_of

MOST_BYTES = 512 * 1024
MOST_BYTES_IN_ALL = 8 * MOST_BYTES
SUFFIXES = {
    ".py": Language.PYTHON, ".sh": Language.SHELL, ".bash": Language.SHELL, ".js": Language.JAVASCRIPT,
    ".mjs": Language.JAVASCRIPT, ".cjs": Language.JAVASCRIPT,
}  # fmt: skip
INTERPRETER = re.compile(rb"#![^\n]{0,100}?\b(python[0-9.]*|bash|sh|node)\b")
INTERPRETERS = {b"bash": Language.SHELL, b"sh": Language.SHELL, b"node": Language.JAVASCRIPT}
CODING = re.compile(r"^[ \t\f]*#.{0,200}?coding[:=][ \t]*([-\w.]+)")
UTF8 = {"utf-8", "utf8", "utf-8-sig", "ascii", "us-ascii"}
RULES = {
    Language.PYTHON: (Rule.SCRIPT_PYTHON, Severity.ERROR),
    # Of 606 shell scripts of a Debian system that `bash -n` accepts, this grammar refuses 29.
    Language.SHELL: (Rule.SCRIPT_SHELL, Severity.WARNING),
    Language.JAVASCRIPT: (Rule.SCRIPT_JAVASCRIPT, Severity.ERROR),
}


def check(bundle: Bundle, grammars: Grammars) -> Iterator[Finding]:
    left = MOST_BYTES_IN_ALL
    for path, member in bundle.files.items():
        language = language_of(path, member)
        if language is None:
            continue
        if len(member.data) > min(MOST_BYTES, left):
            yield Finding(Rule.SCRIPT_LARGE, Severity.WARNING, Place(path),
                          f"Its syntax was not checked: more than {MOST_BYTES} bytes, or {MOST_BYTES_IN_ALL} in all.",
                          "Split it.")  # fmt: skip
            continue
        left -= len(member.data)
        yield from _check_script(path, member.data, language, grammars)


def language_of(path: str, member: Member) -> Language | None:
    """By suffix, else by the first line."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix:
        return SUFFIXES.get(suffix)
    match = INTERPRETER.match(member.data)
    return INTERPRETERS.get(match[1], Language.PYTHON) if match is not None else None


def _check_script(path: str, data: bytes, language: Language, grammars: Grammars) -> Iterator[Finding]:
    text = text_of(path, data) or ""
    encoding = _encoding(path, data, text, language)
    if encoding is not None:
        yield encoding
        return
    rule, severity = RULES[language]
    try:
        problems = python_problems(text) if language is Language.PYTHON else grammars.problems(language, text)
    except TooComplexError:
        yield Finding(Rule.SCRIPT_COMPLEX, Severity.ERROR, Place(path),
                      "It is nested too deeply, or too costly to be read.",
                      "Split it.")  # fmt: skip
        return
    for problem in problems:
        yield Finding(rule, severity, Place(path, problem.line, problem.column),
                      f"{language.value.capitalize()} syntax: {problem.message}.", "Correct the script.")  # fmt: skip


def _encoding(path: str, data: bytes, text: str, language: Language) -> Finding | None:
    """A script that its interpreter reads as another text than a reviewer."""
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Finding(Rule.SCRIPT_ENCODING, Severity.ERROR, Place(path), "It is not UTF-8.", "Save it as UTF-8.")
    for number, line in enumerate(text.split("\n", 2)[:2] if language is Language.PYTHON else (), 1):
        match = CODING.match(line)
        if match is not None and match[1].lower().replace("_", "-") not in UTF8:
            return Finding(Rule.SCRIPT_ENCODING, Severity.ERROR, Place(path, number, match.start(1) + 1),
                           f"Python reads it as {match[1][:40]}, and whoever reviews it as UTF-8.",
                           "Save it as UTF-8, and remove the line.")  # fmt: skip
    return None


def python_problems(text: str) -> Sequence[SyntaxProblem]:
    """Syntax and indentation errors; Python reports the first only. Raises TooComplexError."""
    if "\0" in text:
        return [SyntaxProblem(*Lines.of(text).place(text.index("\0")), "a script with NUL is not read")]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in literals: no errors
            ast.parse(text)
    except SyntaxError as error:
        return [SyntaxProblem(max(error.lineno or 1, 1), _column(error, text), f"{error.msg}".rstrip("."))]
    except (RecursionError, MemoryError) as error:
        raise TooComplexError from error
    return []


def _column(error: SyntaxError, text: str) -> int:
    """Of an indentation error, where the line's text begins: Python's versions differ in what they say."""
    if not isinstance(error, IndentationError):
        return max(error.offset or 1, 1)
    lines = text.split("\n")
    line = lines[min(error.lineno or 1, len(lines)) - 1]
    return len(line) - len(line.lstrip()) + 1
