"""Commands of a shell text: what is called with which words, and what goes in and out of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from atom.skills.ports import Syntax
from atom.skills.scan.shell.tables import VALUED, WRAPPERS
from atom.skills.scan.shell.words import Word, Words

CONTAINERS = {
    "redirected_statement",
    "subshell",
    "compound_statement",
    "negated_command",
    "list",
    "do_group",
    "program",
}


@dataclass(frozen=True, slots=True)
class Redirect:
    """`operator`: as `>`, `>>`, `<`, `&>`."""

    operator: str
    place: Word


@dataclass(slots=True)
class Command:
    """`words` begin with the program, without `sudo` and such. `texts`: here-documents and here-strings."""

    node: Syntax
    words: list[Word]
    redirects: list[Redirect] = field(default_factory=list)
    texts: list[Word] = field(default_factory=list)

    @property
    def program(self) -> str:
        if not self.words:
            return ""
        name = self.words[0].text.strip().rpartition("/")[2].lower().removesuffix(".exe")
        return "python" if name.startswith("python") and name[6:].replace(".", "").isdigit() else name

    @property
    def arguments(self) -> Sequence[Word]:
        return self.words[1:]

    def has(self, *options: str) -> bool:
        return any(word.text in options for word in self.arguments)


def commands_in(words: Words, node: Syntax) -> Iterator[Command]:
    """Of a stage of a pipeline: one command, or those of a group."""
    if node.kind == "command":
        yield command(words, node)
    elif node.kind == "redirected_statement":
        found = [one for child in node.children if child.field == "body" for one in commands_in(words, child)]
        made = found or [Command(node, [])]
        for child in node.children:
            if child.field == "redirect" or "redirect" in child.kind:
                _redirect(words, child, made[-1])
        yield from made
    elif node.kind in CONTAINERS or node.kind == "pipeline":
        for child in node.children:
            yield from commands_in(words, child)


def command(words: Words, node: Syntax) -> Command:
    made = Command(node, [])
    said: list[Word] = []
    for child in node.children:
        if child.field in {"name", "argument"}:
            said += _split(words.word(child))
        elif "redirect" in child.kind:
            _redirect(words, child, made)
    made.words = _unwrapped(said)
    return made


def _split(word: Word) -> list[Word]:
    """`{curl,-s,x}` and `curl${IFS}-s` are several words."""
    text = word.text
    if word.node.kind in {"string", "raw_string"}:
        return [word]
    if text.endswith("}") and "," in text and " " not in text and "$" not in text and word.node.kind == "command_name":
        parts = text.removeprefix("{").removesuffix("}").split(",")  # the grammar takes the first brace for a group's
        return [Word(part, word.node, hidden=True) for part in parts]
    if word.hidden and " " in text and word.node.kind in {"concatenation", "command_name"}:
        return [Word(part, word.node, hidden=True) for part in text.split()]
    return [word]


def _unwrapped(said: list[Word]) -> list[Word]:
    at = 0
    for _ in range(8):
        if at >= len(said) or said[at].text.rpartition("/")[2] not in WRAPPERS:
            break
        if at + 1 >= len(said):
            break
        at += 1
        while at < len(said) and (said[at].text.startswith("-") or "=" in said[at].text or said[at].text[:1].isdigit()):
            at += 2 if said[at].text in VALUED else 1
    return said[at:] if at < len(said) else said[:1]


def _redirect(words: Words, node: Syntax, made: Command) -> None:
    if node.kind == "file_redirect":
        place = node.of("destination")
        if place is not None:
            operator = words.offsets.text(node.start, place.start).strip().lstrip("0123456789")
            made.redirects.append(Redirect(operator, words.word(place)))
    elif node.kind == "herestring_redirect" and node.children:
        made.texts.append(words.word(node.children[-1]))
    elif node.kind == "heredoc_redirect":
        for child in node.children:
            if child.kind == "heredoc_body":
                made.texts.append(Word(words.raw(child), child))
            elif child.kind == "file_redirect":
                _redirect(words, child, made)
