"""Syntax of shell and JavaScript by tree-sitter. It reads text and executes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import tree_sitter
import tree_sitter_bash
import tree_sitter_javascript

from atom.skills.ports import Language, Syntax, SyntaxProblem, TooComplexError

MOST = 5  # problems of a file: the first ones are the causes, the rest follows from them
MOST_NODES = 100_000
CHUNK = 4096
LEAST_READS, READS = 10_000, 100  # of a text, and for each of its chunks; good scripts need one or two for each
GRAMMARS = {Language.SHELL: tree_sitter_bash.language, Language.JAVASCRIPT: tree_sitter_javascript.language}


@dataclass(frozen=True, slots=True)
class TreeSitter:
    """A new parser for each text: parsers are not safe to share between threads."""

    def problems(self, language: Language, text: str) -> list[SyntaxProblem]:
        """What the grammar cannot read, in the order of the text. Raises TooComplexError."""
        data = text.encode("utf-8", "replace")
        tree = _parsed(language, data)
        if not tree.root_node.has_error:
            return []
        return sorted({_problem(node, data) for node in _innermost(tree.root_node)})[:MOST]

    def tree(self, language: Language, text: str) -> Syntax:
        """Every named node. Raises TooComplexError, also where there are more of them than anybody reads."""
        return _copied(_parsed(language, text.encode("utf-8", "replace")))


def _parsed(language: Language, data: bytes) -> tree_sitter.Tree:
    reader = _Reader(data)
    tree = tree_sitter.Parser(_language(language)).parse(reader.read)
    if reader.spent:
        raise TooComplexError
    return tree


def _copied(tree: tree_sitter.Tree) -> Syntax:
    """Without recursion: a tree may be as deep as its text is long."""
    cursor = tree.walk()
    root = Syntax(tree.root_node.type, "", tree.root_node.start_byte, tree.root_node.end_byte, [])
    above, count = [root], 0
    down = cursor.goto_first_child()
    while down:
        count += 1
        if count > MOST_NODES:
            raise TooComplexError
        node = cursor.node
        assert node is not None
        made = Syntax(node.type, cursor.field_name or "", node.start_byte, node.end_byte, [])
        if node.is_named or made.field:
            above[-1].children.append(made)
        above.append(made)
        down = cursor.goto_first_child()
        while not down and len(above) > 1:
            above.pop()
            down = cursor.goto_next_sibling()
            if not down and not cursor.goto_parent():
                break
    return root


@dataclass(slots=True)
class _Reader:
    """Hands out a text in chunks, and no more of them than reading it calls for.

    Some texts make the lexer start over and over: 500 KB of here-documents take an hour. The work is counted, not
    timed, so that a text has the same verdict on every machine.
    """

    data: bytes
    reads: int = 0

    def read(self, at: int, _: object) -> bytes:
        """Past the bound it is the end of the text: an exception does not get through the parser."""
        self.reads += 1
        return b"" if self.spent else self.data[at : at + CHUNK]

    @property
    def spent(self) -> bool:
        return self.reads > LEAST_READS + READS * (len(self.data) // CHUNK)


@cache
def _language(language: Language) -> tree_sitter.Language:
    return tree_sitter.Language(GRAMMARS[language]())


def _innermost(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """Nodes that are wrong and have no node inside that is wrong by itself."""
    stack = [root]
    for _ in range(MOST_NODES):
        if not stack:
            return
        node = stack.pop()
        inside = [child for child in node.children if child.has_error]
        stack.extend(reversed(inside))
        if not inside:
            yield node


def _problem(node: tree_sitter.Node, data: bytes) -> SyntaxProblem:
    row, start = node.start_point
    line = data[node.start_byte - start : node.start_byte]
    message = f"{node.type!r} is missing here" if node.is_missing else "the grammar cannot read what begins here"
    return SyntaxProblem(row + 1, len(line.decode("utf-8", "replace")) + 1, message)
