"""What the local model says: texts of ours and lines of files, never a sentence of its own. Pure."""

from collections.abc import Sequence

from atom.llm.adapters.local_dialogue import Done, Line, Situation, found_lines
from atom.llm.notes import LOCAL_NOTE

OTHERS = 2
MAX_CONTINUED = 5
MAX_COPIED_CHARS = 4_000
IN_SHORT = "\n\nIn short: "
GREETING = f"{LOCAL_NOTE}\n\nAsk a question about the files of this agent, and I look for the line that answers it."


def quoted(quote: Sequence[Line]) -> str:
    """The lines as they stand, and the place of the first."""
    return "\n".join([*(f"> {line.text}" for line in quote), "", quote[0].place])


def others(hits: Sequence[Line], quote: Sequence[Line]) -> str:
    """The next two lines of the search that the quote does not show: the best one can be the wrong one."""
    shown = {line.place for line in quote}
    rows = [f"- {hit.place}: {hit.text.strip()}" for hit in hits if hit.place not in shown][:OTHERS]
    return "\n".join(["", "", "Other lines that may answer it:", *rows]) if rows else ""


def nothing(situation: Situation, search: Done) -> str:
    """An honest end: what was looked for, and that it is not there."""
    query = search.arguments.get("query", situation.question)
    return f"I found no line in the files that answers this. I searched for: {query}"


def said(done: Done) -> str:
    """A tool's result, verbatim."""
    text = done.content
    if len(text) > MAX_COPIED_CHARS:
        text = f"{text[:MAX_COPIED_CHARS]}\n[cut: {len(done.content)} characters in all]"
    if done.failed:
        return f"{done.name} did not work. It said: {text}"
    return f"{done.name} says:\n\n{text}"


def searched(situation: Situation, search: Done) -> tuple[Line, list[Line]] | None:
    """The best line, as the file has it where the file was read, and all hits. None when there are none."""
    hits = found_lines(search.content)
    if not hits:
        return None
    read = situation.last("read_file")
    shown = found_lines(read.content) if read is not None and not read.failed else []
    best = next((line for line in shown if (line.path, line.number) == (hits[0].path, hits[0].number)), hits[0])
    return best, hits


def continued(best: Line, shown: Sequence[Line]) -> list[Line]:
    """The line, and the rest of a command that goes on below it."""
    lines = {line.number: line for line in shown if line.path == best.path}
    rows = [best]
    while rows[-1].text.rstrip().endswith("\\") and len(rows) <= MAX_CONTINUED and rows[-1].number + 1 in lines:
        rows.append(lines[rows[-1].number + 1])
    return rows
