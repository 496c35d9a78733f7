"""What a Python text does."""

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from atom.skills.findings import Rule, Severity
from atom.skills.lines import Lines
from atom.skills.ports import Language, TooComplexError
from atom.skills.scan import obfuscation, packages, places
from atom.skills.scan.models import UNKNOWN, Inner, Kind, Label, Notes
from atom.skills.scan.python import calls
from atom.skills.scan.python.flow import Flow
from atom.skills.scan.python.folding import Folder
from atom.skills.scan.python.naming import Naming

ESCAPED = re.compile(r"(\\x[0-9a-fA-F]{2}){8}|(\\u00[0-9a-fA-F]{2}){8}|(\\[0-7]{3}){8}")
WALKS = re.compile(r"^os\.(walk|scandir)$|\.r?glob$|^glob\.i?glob$")
CONNECTS = re.compile(r"^socket\.(create_connection|socket\(\)\.connect(_ex)?|socket\(\)\.bind)$")
WRITING = re.compile(r"[wax+]")


class UnreadableError(Exception):
    """It is no Python of this version."""


def read(text: str, notes: Notes) -> None:
    """Raises UnreadableError, TooComplexError."""
    tree = parsed(text)
    naming = Naming(notes.budget)
    folder = Folder(notes.budget, naming.resolve, naming.bindings)
    naming.text = folder.text
    naming.learn(tree)
    flow = Flow(notes.budget, folder, naming.resolve)
    flow.follow(tree)
    _Reader(text, Lines.of(text), notes, naming, folder, flow).read(tree)


def parsed(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise UnreadableError from error
    except (RecursionError, MemoryError) as error:
        raise TooComplexError from error


@dataclass(frozen=True, slots=True)
class _Reader:
    text: str
    lines: Lines
    notes: Notes
    naming: Naming
    folder: Folder
    flow: Flow
    saved: set[str] = field(default_factory=set)

    def read(self, tree: ast.Module) -> None:
        self.saved.update(self._downloads(tree))
        quiet = {id(one) for one in _quiet(tree, self.naming.resolve)}
        addresses: list[tuple[str, int]] = []
        for node in ast.walk(tree):
            self.notes.budget.spend()
            if isinstance(node, ast.Call):
                self._call(node)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self._import(node)
            elif isinstance(node, ast.Subscript):
                self._variable(node)
            if id(node) not in quiet and isinstance(node, ast.Constant | ast.BinOp | ast.JoinedStr | ast.Call):
                addresses += self._value(node)
        if any(act.kind is Kind.NETWORK for act in self.notes.acts):
            for host, at in addresses:
                self._host(host, at)
        self._odd_names()
        self._hunt(tree)
        self._reverse_shell(tree)

    def _at(self, node: ast.AST) -> int:
        """In characters: `ast` counts bytes of the line."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        start = self.lines.starts[min(line, len(self.lines.starts)) - 1]
        return start + len(
            self.text[start : start + column].encode("utf-8", "replace")[:column].decode("utf-8", "ignore")
        )

    def _downloads(self, tree: ast.Module) -> Iterator[str]:
        """Files that are downloaded to."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and calls.SAVES.search(self.naming.resolve(node.func) or ""):
                place = (
                    _keyword(node, "filename")
                    or _keyword(node, "out")
                    or (node.args[1] if len(node.args) > 1 else None)
                )
                if place is not None and (text := self.folder.text(place)):
                    yield text

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if not node.level else []
        else:
            names = [one.name for one in node.names]
        for name in names:
            top = name.partition(".")[0]
            if top and top not in calls.STANDARD:
                self.notes.act(Kind.PACKAGE, packages.of_import(top), self._at(node))

    def _variable(self, node: ast.Subscript) -> None:
        if self.naming.resolve(node.value) in {"os.environ", "os.environb"}:
            self.notes.act(Kind.ENV, self.folder.text(node.slice) or UNKNOWN, self._at(node))

    def _value(self, node: ast.expr) -> list[tuple[str, int]]:
        """What a text says by itself: a path where credentials lie, an address, a blob."""
        found = self.folder.fold(node)
        if found is None or len(found.value) < 3:
            return []
        at, text = self._at(node), found.text
        judged = places.read(text) if len(text) <= places.LONGEST else None
        if judged is not None and found.whole:
            self.notes.suspect(judged.rule, judged.severity, at, judged.message)
        blob = obfuscation.of_text(text) if isinstance(node, ast.Constant) else None
        if blob is not None:
            self.notes.suspect(blob.rule, blob.severity, at, blob.message)
        if found.hidden and isinstance(node, ast.Call) and (told := obfuscation.unveiled(text)):
            self.notes.suspect(Rule.SCAN_OBFUSCATION, Severity.WARNING, at, told)
        hosts = [(host, at) for host in places.hosts(text)]
        return [*hosts, *((text, at) for _ in (1,) if places.METADATA.search(text))]

    def _host(self, host: str, at: int) -> None:
        self.notes.act(Kind.NETWORK, host, at)
        judged = places.host(host)
        if judged is not None:
            self.notes.suspect(judged.rule, judged.severity, at, judged.message)

    def _call(self, node: ast.Call) -> None:
        name = self.naming.resolve(node.func) or ""
        if (
            isinstance(node.func, ast.Attribute)
            and node.func.attr == "open"
            and self.folder.fold(node.func.value) is not None
        ):
            name = "pathlib.Path().open"
        elif not name and isinstance(node.func, ast.Attribute):
            name = f"?.{node.func.attr}"
        for applies, method in KINDS:
            if applies(name):
                method(self, node, name)
        if name in {"os.getenv", "os.environ.get", "os.environ.pop", "os.environ.setdefault"} and node.args:
            self.notes.act(Kind.ENV, self.folder.text(node.args[0]) or UNKNOWN, self._at(node))

    def _labels(self, nodes: Sequence[ast.expr | None], node: ast.Call) -> Label:
        scope, found = self.flow.scopes.get(id(node), 0), Label.NONE
        for one in nodes:
            found |= self.flow.labels(one, scope) if one is not None else Label.NONE
        return found

    def network(self, node: ast.Call, name: str) -> None:
        at, given = self._at(node), [*node.args, *(one.value for one in node.keywords)]
        addressed = False
        for argument in given[:4]:
            elements = argument.elts[:1] if isinstance(argument, ast.Tuple) else [argument]
            for found in (self.folder.fold(one) for one in elements):
                text = found.text if found is not None else ""
                named = places.hosts(text) or (
                    [places.host_of(text)] if name.startswith(BARE) and text and "." in text else []
                )
                for host in named:
                    addressed = True
                    self._host(host, at)
        if not addressed:
            self.notes.act(Kind.NETWORK, UNKNOWN, at)
        sent = self._labels([*node.args, *(one.value for one in node.keywords if one.arg not in OWN_USE)], node)
        if not name.startswith("paramiko."):
            self.notes.sends(sent, at)

    def command(self, node: ast.Call, name: str) -> None:
        at, first = self._at(node), node.args[0] if node.args else _keyword(node, "args")
        words = self._words(first)
        if words is None:
            self._line(node, first, at)
        elif words:
            self._program(words, at)
        if "exec" in name and len(node.args) > 1 and words is None:
            self._program([self.folder.text(one) or "\0" for one in _flat(node.args[1:])], at)
        labels = self._labels([first, _keyword(node, "input"), _keyword(node, "stdin")], node)
        direct = (
            isinstance(first, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
            or _keyword(node, "input") is not None
        )
        shell = bool(words) and words is not None and words[0].rpartition("/")[2] in SHELL_NAMES
        self.notes.runs(labels if direct or shell else Label.NONE, at, code=shell)

    def _words(self, first: ast.expr | None) -> list[str] | None:
        """Of a list of arguments; None when it is one line, or unknown."""
        if isinstance(first, ast.Name) and len(self.naming.bindings.get(first.id, ())) == 1:
            first = self.naming.bindings[first.id][0][1]
        if isinstance(first, ast.BinOp) and isinstance(first.left, ast.List):
            first = first.left
        if not isinstance(first, ast.List | ast.Tuple):
            return None
        words = []
        for one in first.elts[:200]:
            found = self.folder.fold(one)
            executable = self.naming.resolve(one) == "sys.executable"
            words.append("python" if executable else found.text if found is not None else "\0")
        return words

    def _line(self, node: ast.Call, first: ast.expr | None, at: int) -> None:
        found = self.folder.fold(first) if first is not None else None
        if found is None:
            self.notes.act(Kind.COMMAND, UNKNOWN, at)
            return
        self.notes.inner.append(Inner(Language.SHELL, found.text.replace("\0", "$HOLE"), at))
        if found.hidden:
            self.notes.suspect(
                Rule.SCAN_DECODE_RUN, Severity.ERROR, at, "It runs a command that is hidden in encoded text."
            )

    def _program(self, words: list[str], at: int) -> None:
        """As a line of a shell: what a shell would do with these words is what is done."""
        if any(word in self.saved for word in words):
            self.notes.runs(Label.DOWNLOADED, at, code=False)
        quoted = " ".join("$HOLE" if "\0" in word else "'" + word.replace("'", "'\\''") + "'" for word in words)
        self.notes.inner.append(Inner(Language.SHELL, quoted, at))

    def dynamic(self, node: ast.Call, name: str) -> None:
        at, first = self._at(node), node.args[0] if node.args else None
        self.notes.act(Kind.DYNAMIC, name.rpartition(".")[2], at)
        found = self.folder.fold(first) if first is not None else None
        if found is not None and found.whole:
            if found.hidden:
                self.notes.suspect(
                    Rule.SCAN_DECODE_RUN, Severity.ERROR, at, "It runs code that is hidden in encoded text."
                )
            self.notes.inner.append(Inner(Language.PYTHON, found.text, at))
        else:
            self.notes.runs(self._labels([first], node), at)

    def import_call(self, node: ast.Call, _: str) -> None:
        name = self.folder.text(node.args[0]) if node.args else None
        if name is None:
            self.notes.act(Kind.DYNAMIC, "__import__", self._at(node))
        elif name.partition(".")[0] not in calls.STANDARD:
            self.notes.act(Kind.PACKAGE, packages.of_import(name.partition(".")[0]), self._at(node))

    def load(self, node: ast.Call, name: str) -> None:
        self.notes.act(Kind.DYNAMIC, name, self._at(node))
        self.notes.runs(self._labels(node.args[:1], node), self._at(node))

    def open(self, node: ast.Call, name: str) -> None:
        method = isinstance(node.func, ast.Attribute) and name not in calls.OPENS
        place = node.func.value if method and isinstance(node.func, ast.Attribute) else _first(node)
        mode = _keyword(node, "mode") or (node.args[-1] if node.args and node.args[-1] is not place else None)
        how = self.folder.text(mode) if mode is not None else "r"
        self._path(place, node, writes=WRITING.search(how or "") is not None)

    def file(self, node: ast.Call, name: str) -> None:
        writes = calls.WRITES.search(name) is not None
        method = isinstance(node.func, ast.Attribute) and not name.startswith(("os.", "shutil.", "glob."))
        place = node.func.value if method and isinstance(node.func, ast.Attribute) else _first(node)
        if calls.TO_SECOND.search(name) and len(node.args) > 1:
            self._path(node.args[0], node, writes=False)
            place = node.args[1]
        self._path(place, node, writes=writes)

    def _path(self, place: ast.expr | None, node: ast.Call, *, writes: bool) -> None:
        found = self.folder.fold(place) if place is not None else None
        if found is None:
            return
        text, at = found.text.rpartition("\0")[2] if not found.whole else found.text, self._at(node)
        judged = places.written(text) if writes else places.read(text)
        if judged is not None:
            self.notes.suspect(judged.rule, judged.severity, at, judged.message)
        if found.whole and places.is_noted(text):
            self.notes.act(Kind.WRITE if writes else Kind.READ, places.normal(text), at)

    def keyring(self, node: ast.Call, name: str) -> None:
        self.notes.suspect(
            Rule.SCAN_CREDENTIALS, Severity.WARNING, self._at(node), f"{name} reads what other programs keep secret."
        )

    def _odd_names(self) -> None:
        """Names that Python reads as others than people see, and literals written so that nobody can read them."""
        for number, line in enumerate(self.text.split("\n")):
            found = ESCAPED.search(line) or (obfuscation.STYLED.search(line) if not line.isascii() else None)
            if found is not None and (not line.isascii() or obfuscation.is_words(found[0])):
                at = self.lines.starts[min(number, len(self.lines.starts) - 1)] + found.start()
                self.notes.suspect(
                    Rule.SCAN_OBFUSCATION, Severity.WARNING, at, "It is written so that nobody can read it."
                )

    def _hunt(self, tree: ast.Module) -> None:
        """A walk through folders, and the names of files that it waits for."""
        calls_ = [self.naming.resolve(node.func) or "" for node in ast.walk(tree) if isinstance(node, ast.Call)]
        if not any(WALKS.search(name) for name in calls_):
            return
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and places.HUNTED.search(node.value[:100])
            ):
                message = f"It looks through folders for {node.value}."
                self.notes.suspect(Rule.SCAN_CREDENTIALS, Severity.WARNING, self._at(node), message)

    def _reverse_shell(self, tree: ast.Module) -> None:
        """A connection whose other end is the input and output of a shell."""
        names = {self.naming.resolve(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        connects = any(name and CONNECTS.search(name) for name in names)
        runs = next((node for name, node in names.items() if name and calls.COMMANDS.search(name)), None)
        if connects and runs is not None and ("os.dup2" in names or "pty.spawn" in names or _answers(names)):
            self.notes.suspect(
                Rule.SCAN_REVERSE_SHELL, Severity.ERROR, self._at(runs), "It gives a shell to whoever it connects to."
            )


def _answers(names: dict[str | None, ast.Call]) -> bool:
    """Commands come in by a socket, and what they say goes out by it."""
    ends = {name.rpartition(".")[2] for name in names if name and name.startswith("socket.")}
    return "recv" in ends and bool(ends & {"send", "sendall"})


def _first(node: ast.Call) -> ast.expr | None:
    return node.args[0] if node.args else None


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((one.value for one in node.keywords if one.arg == name), None)


def _flat(nodes: list[ast.expr]) -> list[ast.expr]:
    return [inner for one in nodes for inner in (one.elts if isinstance(one, ast.List | ast.Tuple) else [one])]


def _quiet(tree: ast.Module, resolve: Callable[[ast.AST], str | None]) -> Iterator[ast.AST]:
    """Texts that are only told or compared: docstrings, messages, patterns, help."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
        elif isinstance(node, ast.Call) and calls.QUIET.search(resolve(node.func) or ""):
            for one in [*node.args, *(word.value for word in node.keywords)]:
                if not isinstance(one, ast.Call):
                    yield from ast.walk(one)
        elif isinstance(node, ast.Compare | ast.Raise):
            yield from ast.walk(node)


BARE = ("socket.", "http.client.", "smtplib.", "ftplib.", "telnetlib.", "paramiko.", "imaplib.", "poplib.", "asyncio.")
OWN_USE = {"cert", "verify", "timeout", "proxies", "key_filename", "pkey", "ssl", "ssl_context", "client_keys"}
SHELL_NAMES = {"sh", "bash", "zsh", "dash", "python", "python3", "node", "perl", "ruby", "php"}
KINDS: Sequence[tuple[Callable[[str], object], Callable[[_Reader, ast.Call, str], None]]] = (
    (calls.NETWORK.search, _Reader.network),
    (calls.COMMANDS.search, _Reader.command),
    (calls.DYNAMIC.__contains__, _Reader.dynamic),
    (calls.IMPORTS.__contains__, _Reader.import_call),
    (calls.LOADS.__contains__, _Reader.load),
    (lambda name: name in calls.OPENS or calls.OPEN_METHOD.search(name), _Reader.open),
    (lambda name: calls.WRITES.search(name) or calls.READS.search(name), _Reader.file),
    (calls.KEYRINGS.search, _Reader.keyring),
)
