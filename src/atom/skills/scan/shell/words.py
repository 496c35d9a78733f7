"""What a word of a shell comes to."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from atom.skills.ports import Syntax
from atom.skills.scan import obfuscation
from atom.skills.scan.models import Budget
from atom.skills.scan.offsets import Offsets

DEEPEST = 30
LONGEST = 64 * 1024
ANSI = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|([0-7]{1,3})|(.))", re.DOTALL)
NAMED = {"n": "\n", "t": "\t", "r": "\r", "e": "\x1b", "a": "\a", "0": "\0"}
VARIABLE = re.compile(r"\$?\{?!?([A-Za-z_]\w*)\}?")
DEFAULT = re.compile(r"\$\{([A-Za-z_]\w*):?[-=](.*)\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Word:
    """`hidden`: it took more than taking quotes away to read it."""

    text: str
    node: Syntax
    hidden: bool = False


@dataclass(slots=True)
class Words:
    """`variables`: the value of a name that is given one once; it is written `$NAME` where it is not known."""

    offsets: Offsets
    budget: Budget
    variables: dict[str, str] = field(default_factory=dict)
    decoded: set[str] = field(default_factory=set)

    def learn(self, root: Syntax) -> None:
        counts: dict[str, list[Syntax]] = {}
        for node in walk(root, self.budget):
            if node.kind == "variable_assignment" and (given := node.of("name")) is not None:
                counts.setdefault(self.raw(given), []).append(node)
        for name, nodes in counts.items():
            value = nodes[0].of("value")
            if len(nodes) == 1 and value is not None and "+=" not in self.raw(nodes[0])[: len(name) + 2]:
                word = self.word(value)
                if word.text and "$" not in word.text:
                    self.variables[name] = word.text
                    self.decoded |= {name} if word.hidden else set()

    def raw(self, node: Syntax) -> str:
        return self.offsets.text(node.start, node.end)

    def word(self, node: Syntax, depth: int = 0) -> Word:
        self.budget.spend()
        if depth > DEEPEST or node.end - node.start > LONGEST:
            return Word(self.raw(node)[:LONGEST], node)
        method = KINDS.get(node.kind)
        if method is None:
            return Word(self.raw(node).replace("\\\n", "").replace("\\", ""), node)
        found = method(self, node, depth + 1)
        return Word(found.text[:LONGEST], node, found.hidden)

    def parts(self, node: Syntax, depth: int, *, quoted: bool) -> Word:
        """Of a string: its children, and what stands between them."""
        text, hidden = [], False
        end = node.end - (1 if quoted else 0)
        at = node.start + (len(self.raw(node)) - len(self.raw(node).lstrip("$"))) + 1 if quoted else node.start
        for child in node.children:
            if child.start < at:
                continue
            text.append(self.offsets.text(at, child.start))
            found = (
                self.word(child, depth) if child.kind != "string_content" else Word(_unescaped(self.raw(child)), child)
            )
            text.append(found.text)
            hidden, at = hidden or found.hidden, child.end
        text.append(self.offsets.text(at, end) if at < end else "")
        return Word("".join(text), node, hidden)


def walk(root: Syntax, budget: Budget) -> list[Syntax]:
    """Every node, in the order of the text."""
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        budget.spend()
        found.append(node)
        waiting.extend(reversed(node.children))
    return found


def _unescaped(text: str) -> str:
    return re.sub(r'\\([\\"$`\n])', lambda m: "" if m[1] == "\n" else m[1], text)


def _string(words: Words, node: Syntax, depth: int) -> Word:
    return words.parts(node, depth, quoted=True)


def _concatenation(words: Words, node: Syntax, depth: int) -> Word:
    return words.parts(node, depth, quoted=False)


def _raw_string(words: Words, node: Syntax, _: int) -> Word:
    return Word(words.raw(node)[1:-1], node)


def _ansi(words: Words, node: Syntax, _: int) -> Word:
    raw = words.raw(node)[2:-1]
    return Word(_unescape(raw), node, hidden=obfuscation.ESCAPE.search(raw) is not None)


def _unescape(raw: str) -> str:
    def said(match: re.Match[str]) -> str:
        number = match[1] or match[2]
        if number:
            return chr(int(number, 16))
        return chr(int(match[3], 8) & 255) if match[3] else NAMED.get(match[4], match[4])

    return ANSI.sub(said, raw)


def _expansion(words: Words, node: Syntax, _: int) -> Word:
    raw = words.raw(node)
    default = DEFAULT.fullmatch(raw)
    match = VARIABLE.fullmatch(raw)
    name = default[1] if default else match[1] if match else ""
    if name == "HOME":
        return Word("~", node)
    if name == "IFS":
        return Word(" ", node, hidden=True)
    known = words.variables.get(name)
    if known is None:
        return Word(default[2] if default else f"${name}" if name else raw, node)
    return Word(known, node, name in words.decoded)


def _substitution(words: Words, node: Syntax, depth: int) -> Word:
    """`$(echo aGk= | base64 -d)` is what it decodes."""
    if node.children and node.children[0].kind == "pipeline" and len(stages := node.children[0].children) == 2:
        first, second = (_simple(words, stage, depth) for stage in stages)
        if first[:1] in (["echo"], ["printf"]) and len(first) > 1 and second[:1] in (["base64"], ["xxd"], ["openssl"]):
            decoded = obfuscation.decoded(first[-1])
            if decoded is not None:
                return Word(decoded.rstrip("\n"), node, hidden=True)
    if node.children and node.children[0].kind == "command":
        only = _simple(words, node.children[0], depth)
        if only[:1] in (["echo"], ["printf"]) and len(only) > 1:
            text = only[-1] if obfuscation.ESCAPE.search(only[-1]) is None else _unescape(only[-1])
            return Word(text, node, hidden=text != only[-1])
    return Word(words.raw(node), node)


def _simple(words: Words, node: Syntax, depth: int) -> list[str]:
    if node.kind != "command":
        return []
    return [words.word(child, depth).text for child in node.children if child.field in {"name", "argument"}]


def _command_name(words: Words, node: Syntax, depth: int) -> Word:
    return words.word(node.children[0], depth) if node.children else Word(words.raw(node), node)


KINDS: Mapping[str, Callable[[Words, Syntax, int], Word]] = {
    "string": _string, "translated_string": _string, "raw_string": _raw_string, "ansi_c_string": _ansi,
    "concatenation": _concatenation,
    "simple_expansion": _expansion, "expansion": _expansion, "command_substitution": _substitution,
    "command_name": _command_name,
}  # fmt: skip
