"""Characters in the texts of a bundle that nobody sees."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from atom.skills.bundle.models import Bundle
from atom.skills.findings import Finding, Place, Rule, Severity
from atom.skills.hidden import Hidden, find
from atom.skills.lines import Lines
from atom.skills.validation.texts import text_of

MOST_COUNTED = 10_000  # in one file
MOST = 20  # findings of a sort for one file; a count stands for the rest
RULES = {
    Hidden.CONTROL: (Rule.HIDDEN_CONTROL, "a control character"),
    Hidden.BIDI: (Rule.HIDDEN_BIDI, "it changes the order in which text is shown"),
    Hidden.INVISIBLE: (Rule.HIDDEN_INVISIBLE, "nobody sees it, and a model reads it"),
}


def check(bundle: Bundle) -> Iterator[Finding]:
    for path, member in bundle.files.items():
        text = text_of(path, member.data)
        if text is not None:
            yield from _check_text(path, text)


def _check_text(path: str, text: str) -> Iterator[Finding]:
    counts = Counter[Hidden]()
    lines: Lines | None = None
    for found in islice(find(text), MOST_COUNTED):
        counts[found.kind] += 1
        if counts[found.kind] > MOST:
            continue
        lines = lines or Lines.of(text)
        rule, why = RULES[found.kind]
        place = Place(path, *lines.place(found.offset))
        yield Finding(rule, Severity.ERROR, place, f"{found.name}: {why}.", "Remove it, or write it as an escape.")
    for kind, count in counts.items():
        if count > MOST:
            message = f"{count - MOST} more of this sort{', at least' if counts.total() == MOST_COUNTED else ''}."
            yield Finding(RULES[kind][0], Severity.ERROR, Place(path), message, "Remove them.")
