"""What a JavaScript text does."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from atom.skills.findings import Rule, Severity
from atom.skills.ports import Language, Syntax
from atom.skills.scan import obfuscation, places
from atom.skills.scan.javascript.values import Values, module_of
from atom.skills.scan.models import UNKNOWN, Inner, Kind, Label, Notes
from atom.skills.scan.offsets import Offsets

ROUNDS = 3
NETWORK = re.compile(
    r"^(fetch|axios|got|superagent|needle|ky|request|node-fetch|undici|cross-fetch|phin|bent)(\.(default|fetch|get|"
    r"post|put|patch|delete|request|create|head|stream))*"
    r"(\(\)\.(get|post|put|patch|request|delete))?$|^https?\.(get|request)$|^(net|tls)\.(connect|createConnection)$|"
    r"^net\.Socket\(\)(\.connect|\.write)?$"
    r"|^dgram\.createSocket(\(\)\.send)?$|^(WebSocket|ws|ws\.WebSocket|EventSource|"
    r"navigator\.sendBeacon)(\(\)(\.send)?)?$"
    r"|^XMLHttpRequest\(\)\.(open|send)$|^dns\.(lookup|resolve\w*)$|^(https?\.request\(\)|net\.connect\(\)|"
    r"net\.createConnection\(\))\.(write|end)$"
)
COMMANDS = re.compile(
    r"^(child_process\.(exec|execSync|spawn|spawnSync|execFile|execFileSync|fork)|(execa|shelljs|cross-spawn|"
    r"zx)(\.\w+)?|Bun\.spawn(Sync)?|Deno\.(run|Command))$"
)
DYNAMIC = re.compile(
    r"^(eval|Function|vm\.(runIn\w+|Script|compileFunction)|vm2\.VM\(\)\.run|\w+\.constructor\.constructor|"
    r"AsyncFunction|GeneratorFunction)$"
)
READS = re.compile(
    r"^(fs|fs-extra|graceful-fs)(\.promises)?\.(readFile|readFileSync|createReadStream|readdir|readdirSync|open|"
    r"openSync|readJson|readJsonSync)$|^Bun\.file$|^Deno\.readTextFile$"
)
WRITES = re.compile(
    r"^(fs|fs-extra|graceful-fs)(\.promises)?\.(writeFile|writeFileSync|appendFile|appendFileSync|createWriteStream|"
    r"symlink\w*|unlink\w*|rm|rmSync|outputFile\w*)$"
    r"|^Bun\.write$|^Deno\.writeTextFile$"
)
COPIES = re.compile(r"^(fs|fs-extra)(\.promises)?\.(copyFile|copyFileSync|rename|renameSync|cp|cpSync|copy|move)$")
DECODES = re.compile(
    r"^(atob|Buffer\.from|zlib\.(gunzip|inflate|unzip|brotliDecompress)\w*|crypto\.createDecipher\w*)$"
)
KEYRINGS = re.compile(r"^keytar\.(getPassword|findPassword|findCredentials)$")
FILES = re.compile(r"(^|\.)(read\w*|createReadStream|open\w*|copyFile\w*|file|readTextFile)$")
SCRAMBLED = re.compile(r"\b_0x[0-9a-f]{4,8}\b")
CONSTRUCTORS = re.compile(r"constructor['\"\]]{0,2}[.\[]{1,2}['\"]?constructor['\"\]]{0,2}\(")
STRANGE = re.compile(r"[\[\]()!+]{200,}")
BUILT_IN = {
    "fs", "path", "os", "child_process", "http", "https", "net", "tls", "dgram", "dns", "crypto", "zlib", "util",
    "url", "events", "stream", "buffer",
    "assert", "readline", "vm", "worker_threads", "process", "querystring", "cluster", "module", "perf_hooks",
    "string_decoder", "timers", "tty", "v8", "test",
    "async_hooks", "console", "constants", "diagnostics_channel", "http2", "inspector", "repl", "sqlite", "sys",
    "trace_events", "punycode", "wasi", "domain",
}  # fmt: skip
SCOPED = re.compile(r"@[\w.-]+/[\w.-]+|[\w][\w.-]*")
QUIET = re.compile(
    r"^(console\.\w+|log(ger)?\.\w+|Error|TypeError|chalk\.\w+)$|\.(includes|startsWith|endsWith|test|match|"
    r"description|option)$"
)
WHOLE = Label.OWN_SECRET | Label.ACCOUNT | Label.PLACE
CALLS = {"call_expression", "new_expression"}


def read(text: str, root: Syntax, notes: Notes) -> None:
    """Raises TooComplexError."""
    values = Values(Offsets.of(text.encode("utf-8", "replace")), notes.budget)
    nodes, parents = _nodes(root, notes)
    values.learn(nodes)
    _Reader(text, notes, values, nodes, parents).read()


def _nodes(root: Syntax, notes: Notes) -> tuple[list[Syntax], dict[int, Syntax]]:
    found: list[Syntax] = []
    parents: dict[int, Syntax] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        notes.budget.spend()
        found.append(node)
        for child in node.children:
            parents[id(child)] = node
        waiting.extend(reversed(node.children))
    return found, parents


@dataclass(slots=True)
class _Reader:
    text: str
    notes: Notes
    values: Values
    nodes: list[Syntax]
    parents: dict[int, Syntax]
    names: dict[str, Label] = field(default_factory=dict)
    files: dict[str, Label] = field(default_factory=dict)

    def read(self) -> None:
        self._follow()
        addresses: list[tuple[str, Syntax]] = []
        for node in self.nodes:
            if node.kind in CALLS:
                self._call(node)
            elif node.kind in {"import_statement", "export_statement"}:
                source = node.of("source")
                self._package(self.values.text(source) if source is not None else None, node)
            elif node.kind in {"member_expression", "subscript_expression"}:
                self._variable(node)
            if node.kind in {"string", "template_string", "binary_expression", *CALLS} and not self._quiet(node):
                addresses += self._value(node)
        if any(act.kind is Kind.NETWORK for act in self.notes.acts):
            for host, node in addresses:
                self._host(host, node)
        self._scrambled()
        self._reverse_shell()

    def _suspect(self, rule: Rule, severity: Severity, node: Syntax, message: str) -> None:
        self.notes.suspect(rule, severity, self._at(node), message)

    def _at(self, node: Syntax) -> int:
        return self.values.offsets.character(node.start)

    def _name(self, node: Syntax) -> str:
        function = node.of("function") or node.of("constructor")
        return (self.values.resolve(function) or "").replace(".default", "") if function is not None else ""

    # Where values come from.

    def _follow(self) -> None:
        for _ in range(ROUNDS):
            before = dict(self.names)
            for node in self.nodes:
                target, value = self._given(node)
                if target is None or value is None:
                    continue
                if found := self.labels(value):
                    for one in self._below(target):
                        if one.kind in {"identifier", "shorthand_property_identifier_pattern"}:
                            name = self.values.raw(one)
                            self.names[name] = self.names.get(name, Label.NONE) | found
            if before == self.names:
                return

    def _given(self, node: Syntax) -> tuple[Syntax | None, Syntax | None]:
        if node.kind in {"variable_declarator", "assignment_expression", "augmented_assignment_expression"}:
            return node.of("name") or node.of("left"), node.of("value") or node.of("right")
        if node.kind == "for_in_statement":
            return node.of("left"), node.of("right")
        if node.kind == "call_expression":  # `.then(x => ...)`, `.on("data", x => ...)`, and callbacks
            given = self.values.arguments(node)
            last = given[-1] if given and given[-1].kind in {"arrow_function", "function_expression"} else None
            if last is not None:
                return last.of("parameter") or last.of("parameters"), node.of("function") if len(given) == 1 else node
        return None, None

    def _below(self, root: Syntax) -> list[Syntax]:
        found, waiting = [], [root]
        while waiting:
            node = waiting.pop()
            self.notes.budget.spend()
            found.append(node)
            waiting.extend(node.children)
        return found

    def labels(self, root: Syntax) -> Label:
        """Of everything in an expression together. One item by its name (`x.token`) is not all of what it is from."""
        found, reads = Label.NONE, False
        waiting = [(root, False)]
        while waiting:
            node, picked = waiting.pop()
            self.notes.budget.spend()
            label = self._of_node(node)
            reads = reads or (node.kind in CALLS and FILES.search(self._name(node)) is not None)
            found |= label & ~WHOLE if picked else label
            taken = node.of("object") if node.kind == "member_expression" and not self._is_called(node) else None
            waiting.extend((child, picked or child is taken) for child in node.children)
        there = Label.CREDENTIAL | Label.ACCOUNT | Label.OWN_SECRET
        return found | Label.CREDENTIAL if reads and Label.PLACE in found and not found & there else found

    def _of_node(self, node: Syntax) -> Label:
        if node.kind in {"identifier", "shorthand_property_identifier"}:
            return self.names.get(self.values.raw(node), Label.NONE)
        if node.kind in CALLS:
            return self._of_call(node)
        environment = node.kind == "member_expression" and self._is_environment(node)
        return Label.ENVIRONMENT if environment else Label.NONE

    def _is_called(self, node: Syntax) -> bool:
        above = self.parents.get(id(node))
        return above is not None and above.kind == "call_expression" and node.field == "function"

    def _is_environment(self, node: Syntax) -> bool:
        """All of it; one name of it is something else, and so is what a process is started with."""
        if self.values.resolve(node) != "process.env":
            return False
        above = self.parents.get(id(node))
        if above is None or above.kind in {"member_expression", "subscript_expression"}:
            return False
        for _ in range(3):
            if above is None:
                return True
            if above.kind == "pair" and self.values.raw(above).startswith("env"):
                return False
            if (
                above.kind == "variable_declarator"
                and (name := above.of("name")) is not None
                and name.kind == "object_pattern"
            ):
                return False
            above = self.parents.get(id(above))
        return True

    def _of_call(self, node: Syntax) -> Label:
        name = self._name(node)
        if DECODES.search(name):
            return Label.DECODED
        if KEYRINGS.search(name):
            return Label.CREDENTIAL
        if NETWORK.search(name):
            return Label.DOWNLOADED
        given = self.values.arguments(node)
        if COMMANDS.search(name) and given:
            said = self.values.fold(given[0])
            words = said.text.split() if said is not None else []
            if any(places.label(word) & Label.CREDENTIAL for word in words) or "find-generic-password" in words:
                return Label.CREDENTIAL
            return Label.DOWNLOADED if words[:1] in (["curl"], ["wget"]) else Label.NONE
        for one in given[:2]:
            found = self.values.fold(one)
            text = found.text.rpartition("\0")[2] if found is not None else ""
            there = places.label(text) if text else Label.NONE
            if there:
                return there if FILES.search(name) else Label.PLACE
        return Label.NONE

    # What is done with them.

    def _call(self, node: Syntax) -> None:
        name = self._name(node)
        function = node.of("function")
        if name in {"require", "import"} or (function is None and self.values.raw(node).startswith("import(")):
            given = self.values.arguments(node)
            self._package(self.values.text(given[0]) if given else None, node)
        for applies, method in KINDS:
            if applies(name):
                method(self, node, name)
                break

    def _package(self, module: str | None, node: Syntax) -> None:
        if module is None:
            return
        name = module_of(module)
        match = SCOPED.match(name)
        if match is None or name.startswith((".", "/")) or match[0].split("/")[0] in BUILT_IN or ":" in name:
            return
        self.notes.act(Kind.PACKAGE, f"npm:{match[0]}", self._at(node))

    def _variable(self, node: Syntax) -> None:
        base, key = node.of("object"), node.of("property") or node.of("index")
        if base is None or key is None or self.values.resolve(base) not in {"process.env", "Bun.env", "Deno.env"}:
            return
        name = self.values.raw(key) if node.kind == "member_expression" else self.values.text(key)
        self.notes.act(Kind.ENV, name or UNKNOWN, self._at(node))

    def network(self, node: Syntax, name: str) -> None:
        given, found = self.values.arguments(node), False
        for one in given[:3]:
            for part in [
                one,
                *(value for pair in one.children if pair.kind == "pair" and (value := pair.of("value")) is not None),
            ]:
                text = self.values.fold(part)
                for host in self._hosts(text.text if text is not None else "", name):
                    found = True
                    self._host(host, node)
        if not found:
            self.notes.act(Kind.NETWORK, UNKNOWN, self._at(node))
        sent = Label.NONE
        for one in given:
            sent |= self.labels(one)
        self.notes.sends(sent, self._at(node))

    def _hosts(self, text: str, name: str) -> list[str]:
        found = places.hosts(text)
        bare = name.startswith(("net.", "tls.", "http.", "https.", "dns.", "dgram.")) and re.fullmatch(
            r"[\w-]+(\.[\w-]+)+", text
        )
        return found or ([places.host_of(text)] if bare else [])

    def _host(self, host: str, node: Syntax) -> None:
        self.notes.act(Kind.NETWORK, host, self._at(node))
        judged = places.host(host)
        if judged is not None:
            self._suspect(judged.rule, judged.severity, node, judged.message)

    def command(self, node: Syntax, name: str) -> None:
        given = self.values.arguments(node)
        found = self.values.fold(given[0]) if given else None
        if found is None:
            self.notes.act(Kind.COMMAND, UNKNOWN, self._at(node))
        else:
            words = [found.text]
            for one in given[1].children if len(given) > 1 and given[1].kind == "array" else ():
                word = self.values.fold(one)
                words.append("'" + (word.text if word is not None else "$HOLE").replace("'", "'\\''") + "'")
            self.notes.inner.append(Inner(Language.SHELL, " ".join(words).replace("\0", "$HOLE"), self._at(node)))
            if found.hidden:
                self._suspect(
                    Rule.SCAN_DECODE_RUN, Severity.ERROR, node, "It runs a command that is hidden in encoded text."
                )
        if given and given[0].kind in {"identifier", "call_expression", "await_expression", "member_expression"}:
            self.notes.runs(self.labels(given[0]), self._at(node), code=False)

    def dynamic(self, node: Syntax, name: str) -> None:
        given = self.values.arguments(node)
        self.notes.act(Kind.DYNAMIC, name.rpartition(".")[2], self._at(node))
        found = self.values.fold(given[-1]) if given else None
        if found is not None and found.whole:
            if found.hidden:
                self._suspect(
                    Rule.SCAN_DECODE_RUN, Severity.ERROR, node, "It runs code that is hidden in encoded text."
                )
            self.notes.inner.append(Inner(Language.JAVASCRIPT, found.text, self._at(node)))
            return
        labels = Label.NONE
        for one in given:
            labels |= self.labels(one)
        self.notes.runs(labels, self._at(node))

    def timer(self, node: Syntax, _: str) -> None:
        given = self.values.arguments(node)
        if given and given[0].kind in {"string", "template_string", "binary_expression"}:
            self.dynamic(node, "setTimeout")

    def then(self, node: Syntax, _: str) -> None:
        """`.then(eval)`: what came before is run."""
        given, function = self.values.arguments(node), node.of("function")
        if given and function is not None and DYNAMIC.search(self.values.resolve(given[0]) or ""):
            self.notes.act(Kind.DYNAMIC, "eval", self._at(node))
            self.notes.runs(self.labels(function), self._at(node))

    def path(self, node: Syntax, name: str) -> None:
        given = self.values.arguments(node)
        place = given[1] if COPIES.search(name) and len(given) > 1 else given[0] if given else None
        writes = COPIES.search(name) is not None or WRITES.search(name) is not None
        found = self.values.fold(place) if place is not None else None
        if found is None:
            return
        text = found.text.rpartition("\0")[2]
        judged = places.written(text) if writes else places.read(text)
        if judged is not None:
            self._suspect(judged.rule, judged.severity, node, judged.message)
        if found.whole and places.is_noted(text):
            self.notes.act(Kind.WRITE if writes else Kind.READ, places.normal(text), self._at(node))

    def keyring(self, node: Syntax, name: str) -> None:
        self._suspect(Rule.SCAN_CREDENTIALS, Severity.WARNING, node, f"{name} reads what other programs keep secret.")

    def _quiet(self, node: Syntax) -> bool:
        """A text that is only told or compared."""
        above = self.parents.get(id(node))
        for _ in range(3):
            if above is None:
                return False
            if above.kind == "binary_expression" and self.values.raw(above.of("operator") or above)[:2] in {"==", "!="}:
                return True
            if above.kind in CALLS:
                return QUIET.search(self._name(above)) is not None
            above = self.parents.get(id(above))
        return False

    def _value(self, node: Syntax) -> list[tuple[str, Syntax]]:
        found = self.values.fold(node)
        if found is None or len(found.text) < 3:
            return []
        judged = places.read(found.text) if len(found.text) <= places.LONGEST and found.whole else None
        if judged is not None:
            self._suspect(judged.rule, judged.severity, node, judged.message)
        blob = obfuscation.of_text(found.text) if node.kind == "string" else None
        if blob is not None:
            self._suspect(blob.rule, blob.severity, node, blob.message)
        if found.hidden and (told := obfuscation.unveiled(found.text)):
            self._suspect(Rule.SCAN_OBFUSCATION, Severity.WARNING, node, told)
        return [(host, node) for host in places.hosts(found.text)]

    def _scrambled(self) -> None:
        names = len(set(SCRAMBLED.findall(self.text)))
        strange = STRANGE.search(self.text) or CONSTRUCTORS.search(self.text)
        if names >= 5 or strange is not None:
            match = SCRAMBLED.search(self.text) or strange
            assert match is not None
            self.notes.suspect(
                Rule.SCAN_OBFUSCATION, Severity.WARNING, match.start(), "It is written so that nobody can read it."
            )

    def _reverse_shell(self) -> None:
        connects = spawns = piped = None
        for node in self.nodes:
            if node.kind in CALLS:
                name = self._name(node)
                connects = node if name.startswith(("net.", "tls.")) and "createServer" not in name else connects
                spawns = node if COMMANDS.search(name) and SHELLS.search(self.values.raw(node)[:300]) else spawns
                piped = node if re.search(r"\.(stdout|stderr|stdin)\.(pipe|write|on)$|\.pipe$", name) else piped
        if connects is not None and spawns is not None and piped is not None:
            self._suspect(
                Rule.SCAN_REVERSE_SHELL, Severity.ERROR, spawns, "It gives a shell to whoever it connects to."
            )


SHELLS = re.compile(
    r"['\"`](/bin/|/usr/bin/)?(ba|z)?sh['\"`]|cmd(\.exe)?['\"`]|powershell|process\.env\.(SHELL|ComSpec)"
)
KINDS: Sequence[tuple[Callable[[str], object], Callable[[_Reader, Syntax, str], None]]] = (
    (NETWORK.search, _Reader.network),
    (COMMANDS.search, _Reader.command),
    (DYNAMIC.search, _Reader.dynamic),
    (lambda name: name in {"setTimeout", "setInterval", "setImmediate"}, _Reader.timer),
    (lambda name: READS.search(name) or WRITES.search(name) or COPIES.search(name), _Reader.path),
    (KEYRINGS.search, _Reader.keyring),
    (lambda name: name.endswith(".then"), _Reader.then),
)
