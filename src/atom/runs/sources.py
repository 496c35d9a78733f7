"""Where an answer comes from, checked by Atom against what the tools really showed: a model's word is not enough."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from atom.tools.ports import SourceLine

MAX_SOURCES = 20
MIN_QUOTE = 8  # characters: shorter lines ("}", "```") stand in every file
UNCITED_SHOWN = 5
# Begins where a word does: an answer of one endless word is not read again from each of its letters.
CITATION = re.compile(r"(?<![\w./-])(?P<path>[\w./-]*\w):(?P<line>\d{1,7})\b")


@dataclass(frozen=True, slots=True)
class Source:
    """`cited`: the answer names this line or quotes it verbatim. Else it is only something the run had read."""

    path: str
    line: int
    quote: str
    cited: bool

    def as_json(self) -> dict[str, Any]:
        return {"path": self.path, "line": self.line, "quote": self.quote, "cited": self.cited}


def find_sources(answer: str, shown: Iterable[SourceLine]) -> list[Source]:
    """Lines among `shown` that `answer` cites or quotes, in the order of the answer; else the first that were read."""
    lines = {(line.path, line.line): line.text for line in shown}
    named = [(m["path"].removeprefix("./"), int(m["line"])) for m in CITATION.finditer(answer)]
    cited = [key for key in dict.fromkeys(named) if key in lines]
    quoted = [key for key, text in lines.items() if key not in cited and _quotes(answer, text)]
    chosen = (cited + quoted)[:MAX_SOURCES]
    if chosen:
        return [Source(path, line, lines[path, line], cited=True) for path, line in chosen]
    read = [(key, text) for key, text in lines.items() if len(text.strip()) >= MIN_QUOTE]
    return [Source(path, line, text, cited=False) for (path, line), text in read[:UNCITED_SHOWN]]


def _quotes(answer: str, line: str) -> bool:
    text = line.strip().strip("`").strip()
    return len(text) >= MIN_QUOTE and text in answer
