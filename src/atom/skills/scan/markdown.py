"""A Markdown text taken apart: what is said in it, and the code that it has the agent run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from atom.skills.lines import Lines
from atom.skills.ports import Language
from atom.skills.scan import prose
from atom.skills.scan.models import Weight

FENCE = re.compile(r"^([ \t>]*)(```+|~~~+)[ \t]*\{?\.?([\w+#-]*)")
HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*)$")
ITEM = re.compile(r"^[ \t]*([-*+\u2022]|\d{1,3}[.)])[ \t]+|^[ \t]*\|")
RULE = re.compile(r"^[-=_*\u2500\u2501\u2550 \t]{3,}$")
SPAN = re.compile(r"`([^`\n]{3,2000})`")
PROMPT = re.compile(r"^([ \t]*)(\$|%|>|#) (?=\S)")
COMMENT = re.compile(r"<!--([\s\S]*?)(?:-->|\Z)|^ {0,3}\[[^\]\n]{1,20}\]:[ \t]*#[ \t]*([(\"'][^\n]*)", re.MULTILINE)
LANGUAGES = {
    "bash": Language.SHELL, "sh": Language.SHELL, "shell": Language.SHELL, "zsh": Language.SHELL,
    "console": Language.SHELL, "shell-session": Language.SHELL,
    "terminal": Language.SHELL, "python": Language.PYTHON, "py": Language.PYTHON, "python3": Language.PYTHON,
    "javascript": Language.JAVASCRIPT,
    "js": Language.JAVASCRIPT, "node": Language.JAVASCRIPT, "typescript": Language.JAVASCRIPT,
    "ts": Language.JAVASCRIPT, "mjs": Language.JAVASCRIPT,
    "jsx": Language.JAVASCRIPT, "tsx": Language.JAVASCRIPT, "fish": Language.SHELL, "cmd": Language.SHELL,
    "powershell": Language.SHELL, "ps1": Language.SHELL,
    "pwsh": Language.SHELL, "bat": Language.SHELL,
}  # fmt: skip
TEXTS = {"", "text", "txt", "markdown", "md", "plain", "plaintext", "prompt"}
COMMANDS = {
    "curl", "wget", "bash", "sh", "zsh", "sudo", "echo", "python", "python3", "node", "pip", "pip3", "npm", "npx",
    "eval", "base64", "powershell", "pwsh", "iwr",
    "irm", "iex", "crontab", "nc", "ncat", "cat", "scp", "tar", "zip", "rsync", "chmod", "rm", "dd", "osascript",
    "launchctl", "systemctl", "security", "printenv",
    "env", "source", "uv", "uvx", "pipx", "yarn", "pnpm", "bun", "bunx", "perl", "ruby", "php", "cp", "mv", "tee",
    "openssl", "xxd", "nohup", "schtasks", "git",
    "printf", "mkfifo", "certutil", "bitsadmin", "(crontab", "exec", "find",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Paragraph:
    """`line`: of the text, from 0. `hidden`: it is in a comment."""

    text: str
    line: int
    weight: Weight
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """A fenced block, or a line or span that is a command. `indent`: characters before each of its lines."""

    text: str
    language: Language
    line: int
    indent: int
    weight: Weight


@dataclass(slots=True)
class _Walk:
    """`sections`: the headings that a line is below. `lead`: the line before a list or a block."""

    sections: dict[int, str] = field(default_factory=dict)
    lead: str = ""
    pending: list[str] = field(default_factory=list)
    began: int = 0

    def weight(self, *, item: bool = False) -> Weight:
        """Below a heading (the title is none) or a line that tells of something bad."""
        told = any(prose.describes(text) for level, text in self.sections.items() if level > 1)
        led = item and self.lead.rstrip().endswith((":", ":**", "**")) and prose.describes(self.lead)
        return Weight.DESCRIBED if told or led else Weight.INSTRUCTION

    def heading(self, level: int, text: str) -> None:
        self.sections = {above: said for above, said in self.sections.items() if above < level} | {level: text}
        self.lead = ""

    def flush(self) -> Iterator[Paragraph]:
        if self.pending:
            text = "\n".join(self.pending)
            item = ITEM.match(text) is not None
            yield Paragraph(text, self.began, self.weight(item=item))
            self.lead = self.lead if item and self.lead.rstrip().endswith(":") else self.pending[-1]
            self.pending = []

    def add(self, line: str, number: int) -> None:
        self.began = self.began if self.pending else number
        self.pending.append(line)


def parts(text: str) -> Iterator[Paragraph | Code]:
    """In the order of the text, comments first."""
    lines = Lines.of(text)
    for match in COMMENT.finditer(text):
        said = match[1] if match[1] is not None else match[2]
        line, _ = lines.place(match.end() - len(match[0]) + match[0].find(said))
        yield Paragraph(said, line - 1, Weight.INSTRUCTION, hidden=True)
    shown = COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    yield from _lines(shown.split("\n"), _Walk(), 0, inside=False)


def _lines(lines: list[str], walk: _Walk, first: int, *, inside: bool) -> Iterator[Paragraph | Code]:
    """`inside`: of a block that has no language: it may hold commands, and what is said to the agent."""
    number = 0
    while number < len(lines):
        line = lines[number]
        fence = FENCE.match(line) if not inside else None
        heading = HEADING.match(line)
        if fence is not None:
            yield from walk.flush()
            end = _end(lines, number, fence[2])
            yield from _block(lines[number + 1 : end], fence, walk, first + number + 1)
            number = end
        elif heading is not None and not inside:
            yield from walk.flush()
            yield Paragraph(
                heading[2], first + number, Weight.DESCRIBED if prose.describes(heading[2]) else Weight.INSTRUCTION
            )
            walk.heading(len(heading[1]), heading[2])
        elif not line.strip() or RULE.match(line):
            yield from walk.flush()
        else:
            if ITEM.match(line) or inside:
                yield from walk.flush()
            walk.add(line, first + number)
            yield from _commands(line, walk, first + number, whole=inside or line.startswith(("    ", "\t")))
        number += 1
    yield from walk.flush()


def _end(lines: list[str], start: int, mark: str) -> int:
    for number in range(start + 1, len(lines)):
        said = lines[number].strip().lstrip("> ")
        if said.startswith(mark) and not said.strip(mark[0]):
            return number
    return len(lines)


def _block(lines: list[str], fence: re.Match[str], walk: _Walk, first: int) -> Iterator[Paragraph | Code]:
    name, indent = fence[3].lower(), len(fence[1])
    weight = (
        Weight.DESCRIBED if prose.negates(walk.lead[-200:]) and prose.describes(walk.lead[-200:]) else walk.weight()
    )
    if name in TEXTS:
        inner = _Walk({**walk.sections}, walk.lead)
        yield from _lines(lines, inner, first, inside=True)
    elif name in LANGUAGES:
        language = LANGUAGES[name]
        texts = [line[indent:] if not line[:indent].strip(" \t>") else line for line in lines]
        if language is Language.SHELL:
            texts = [PROMPT.sub(lambda match: match[1] + "  " if match[2] != "#" else match[0], text) for text in texts]
        yield Code("\n".join(texts), language, first, indent, weight)


def _commands(line: str, walk: _Walk, number: int, *, whole: bool) -> Iterator[Code]:
    """Commands that stand in a line by themselves, or between backticks."""
    said = PROMPT.sub("", line).strip()
    bare = said.split(maxsplit=1)[0] if said else ""
    weight = walk.weight(item=ITEM.match(line) is not None)
    if bare in COMMANDS and "`" not in line and (whole or any(mark in said for mark in ("|", "://", "$(", "&&"))):
        yield Code(said, Language.SHELL, number, line.find(said), weight)
    for match in SPAN.finditer(line):
        inner = match[1].strip().removeprefix("$ ")
        if inner.split(maxsplit=1)[:1] and inner.split(maxsplit=1)[0] in COMMANDS and " " in inner:
            table = line.lstrip().startswith("|")
            negated = prose.negates(line[max(0, match.start() - prose.NEAR) : match.start()])
            yield Code(inner, Language.SHELL, number, match.start(1), Weight.DESCRIBED if table or negated else weight)
