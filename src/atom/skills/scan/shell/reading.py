"""What a shell text does."""

from atom.skills.findings import Rule, Severity
from atom.skills.ports import Syntax
from atom.skills.scan.models import Notes
from atom.skills.scan.offsets import Offsets
from atom.skills.scan.shell import programs, tables
from atom.skills.scan.shell.effects import Reader
from atom.skills.scan.shell.words import Words


def read(text: str, root: Syntax, notes: Notes) -> None:
    """Raises TooComplexError."""
    words = Words(Offsets.of(text.encode("utf-8", "replace")), notes.budget)
    words.learn(root)
    Reader(notes, words, programs.done_by).read(root)
    match = tables.FETCH_RUN.search(text)  # PowerShell has no reader
    if match is not None:
        message = "It runs what it gets from the network."
        notes.suspect(Rule.SCAN_DOWNLOAD_RUN, Severity.WARNING, match.start(), message)
