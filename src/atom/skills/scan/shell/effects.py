"""What a shell text does."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from atom.skills.findings import Rule, Severity
from atom.skills.ports import Language, Syntax
from atom.skills.scan import obfuscation, places
from atom.skills.scan.models import UNKNOWN, Inner, Kind, Label, Notes
from atom.skills.scan.shell import tables
from atom.skills.scan.shell.commands import Command, commands_in
from atom.skills.scan.shell.words import Word, Words, walk

NAME = re.compile(r"[A-Za-z_]\w*")
VARIABLE = re.compile(r"\$\{?!?([A-Za-z_]\w*)")
REVERSE = re.compile(r"/dev/(tcp|udp)/")
SETTING = re.compile(r"\s*(export|set|setenv)\s+-?[A-Za-z_][^;|&`]{0,300}$", re.DOTALL)
SAYERS = {"echo", "printf", "cat"}
SUBSTITUTED = re.compile(r"\$\(|`")
LANGUAGES: Mapping[str, Language] = {
    "python": Language.PYTHON, "python2": Language.PYTHON, "python3": Language.PYTHON, "node": Language.JAVASCRIPT,
    "bun": Language.JAVASCRIPT,
    "deno": Language.JAVASCRIPT,
}  # fmt: skip
SUFFIXES = {
    "sh": Language.SHELL,
    "bash": Language.SHELL,
    "py": Language.PYTHON,
    "js": Language.JAVASCRIPT,
    "mjs": Language.JAVASCRIPT,
}


@dataclass(slots=True)
class Reader:
    """`names` and `files`: what a variable, or a file that the text itself writes, holds. `programs` knows single "
    "ones."""

    notes: Notes
    words: Words
    programs: "Callable[[Reader, Command], None]"
    names: dict[str, Label] = field(default_factory=dict)
    files: dict[str, Label] = field(default_factory=dict)
    functions: dict[str, Label] = field(default_factory=dict)

    def read(self, root: Syntax) -> None:
        nodes = walk(root, self.notes.budget)
        assigned = {
            self.words.raw(node)
            for node in nodes
            if node.kind == "variable_name" and node.field in {"name", "variable"}
        }
        self._learn(nodes)
        for node in nodes:
            if node.kind == "variable_assignment":
                self._assignment(node)
            elif node.kind == "for_statement":
                self._loop(node)
            elif node.kind == "pipeline":
                self._pipeline(node)
            elif node.kind == "redirected_statement":
                self._redirected(node)
            elif node.kind == "command":
                self.command(next(commands_in(self.words, node)))
            elif node.kind in {"simple_expansion", "expansion"}:
                self._variable(node, assigned)
            elif node.kind == "function_definition" and ":|:" in self.words.raw(node).replace(" ", "")[:80]:
                self.suspect(Rule.SCAN_DESTRUCTIVE, Severity.WARNING, node, "It starts itself over and over.")

    def _learn(self, nodes: Sequence[Syntax]) -> None:
        """What own functions put out."""
        for node in nodes:
            name, body = (node.of("name"), node.of("body")) if node.kind == "function_definition" else (None, None)
            if name is not None and body is not None:
                self.functions[self.words.raw(name).lower()] = self.labels(body)

    def suspect(self, rule: Rule, severity: Severity, node: Syntax, message: str) -> None:
        self.notes.suspect(rule, severity, self.at(node), message)

    def at(self, node: Syntax) -> int:
        return self.words.offsets.character(node.start)

    def act(self, kind: Kind, value: str, node: Syntax) -> None:
        self.notes.act(kind, value, self.at(node))

    def _variable(self, node: Syntax, assigned: set[str]) -> None:
        match = VARIABLE.match(self.words.raw(node))
        name = match[1] if match else ""
        if name.isupper() and name not in assigned and name not in tables.KNOWN_VARIABLES:
            self.act(Kind.ENV, name, node)

    def _assignment(self, node: Syntax) -> None:
        name, value = node.of("name"), node.of("value")
        if name is not None and value is not None and (found := self.labels(value)):
            key = self.words.raw(name)
            self.names[key] = self.names.get(key, Label.NONE) | found

    def _loop(self, node: Syntax) -> None:
        """`for f in ~/.ssh/*`."""
        name = node.of("variable")
        for one in node.children:
            word = self.words.word(one) if one.field == "value" else None
            judged = places.read(word.text) if word is not None else None
            if judged is not None and name is not None:
                self.suspect(judged.rule, judged.severity, one, judged.message)
                key = self.words.raw(name)
                self.names[key] = self.names.get(key, Label.NONE) | Label.CREDENTIAL

    # Where values come from.

    def labels(self, node: Syntax) -> Label:
        """Of everything below a node together."""
        found = Label.NONE
        for one in walk(node, self.notes.budget):
            if one.kind in {"simple_expansion", "expansion"} and (match := VARIABLE.match(self.words.raw(one))):
                found |= self.names.get(match[1], Label.NONE)
            elif one.kind == "command":
                found |= self.of_command(next(commands_in(self.words, one)))
        return found

    def of_command(self, command: Command) -> Label:
        """What a command puts out."""
        program = command.program
        found = self.functions.get(program, Label.NONE)
        if program in tables.FETCHERS:
            found |= Label.DOWNLOADED
        if program in tables.DECODERS or (
            program in {"base64", "openssl"} and command.has("-d", "-D", "--decode", "-di", "-Dd")
        ):
            found |= Label.DECODED if program != "tr" or command.has("A-Za-z") else Label.NONE
        if (program in {"env", "printenv", "set"} and not command.arguments) or (
            program in {"export", "declare"} and command.has("-p", "-x")
        ):
            found |= Label.ENVIRONMENT
        if program == "gpg" and command.has("--export-secret-keys", "--export-secret-key"):
            found |= Label.CREDENTIAL
        if program == "security" and command.has(
            "find-generic-password", "find-internet-password", "dump-keychain", "export"
        ):
            found |= Label.CREDENTIAL
        for word in [*command.arguments, *(one.place for one in command.redirects if one.operator == "<")]:
            found |= self.of_word(word, program)
        return found

    def of_word(self, word: Word, program: str) -> Label:
        text = word.text.rpartition("=@")[2].rpartition("@")[2] if "@" in word.text else word.text
        found = self.files.get(text, Label.NONE)
        there = places.label(text)
        if there & Label.OWN_SECRET and program in tables.KEY_USERS:
            return found
        return found if program in tables.KEY_USERS - {"cp", "mv", "scp", "rsync"} else found | there

    # What is done with them.

    def _pipeline(self, node: Syntax) -> None:
        before, downloads = Label.NONE, None
        literal: Word | None = None
        for stage in node.children:
            for command in commands_in(self.words, stage):
                if before or literal is not None:
                    self._receives(command, before, downloads, literal)
                before |= self.of_command(command) | (self.labels(command.node) & (Label.CREDENTIAL | Label.ACCOUNT))
                downloads = command if command.program in tables.FETCHERS else downloads
                if command.program != "tee":
                    said = [*command.arguments, *command.texts] if command.program in SAYERS else []
                    literal = said[-1] if said else None

    def _receives(self, command: Command, before: Label, downloads: Command | None, literal: Word | None) -> None:
        if self.interprets(command):
            self.runs(before, command.node, downloads)
            if literal is not None and not before:
                self.inner(command, literal)
        if command.program in tables.SENDERS:
            self.sends(before, command.node)
        if (
            command.program in {"crontab", "at", "batch"}
            and command.arguments[:1] != []
            and command.arguments[-1].text == "-"
        ):
            self.suspect(
                Rule.SCAN_PERSISTENCE, Severity.WARNING, command.node, "It adds a job that runs later, again and again."
            )

    def interprets(self, command: Command) -> bool:
        """Whether it runs what it is given as input."""
        if command.program not in tables.INTERPRETERS | tables.LANGUAGES and command.program not in {"source", "."}:
            return False
        plain = [word.text for word in command.arguments if not word.text.startswith("-")]
        if any(word.text.lower() in tables.CODE_OPTIONS for word in command.arguments):
            return False  # what comes in is data then
        return (
            not plain or plain[0] in {"/dev/stdin", "-"} or command.has("-s", "-") or command.program in {"source", "."}
        )

    def inner(self, command: Command, literal: Word) -> None:
        language = Language.SHELL if command.program in tables.INTERPRETERS else LANGUAGES.get(command.program)
        if language is not None:
            self.notes.inner.append(Inner(language, literal.text, self.at(literal.node)))

    def runs(self, labels: Label, node: Syntax, downloads: Command | None = None) -> None:
        """A shell, or another interpreter, is given what has `labels`."""
        if Label.DECODED in labels:
            self.suspect(Rule.SCAN_DECODE_RUN, Severity.ERROR, node, "It runs what it decodes just before.")
        if Label.DOWNLOADED in labels:
            texts = [word.text for word in downloads.words] if downloads is not None else [self.words.raw(node)[:2000]]
            hosts = [host for text in texts for host in places.hosts(text)]
            severity = (
                Severity.ERROR
                if any(places.is_public_address(one) or places.PASTES.search(one) for one in hosts)
                else Severity.WARNING
            )
            if any(tables.INSTALLERS.search(text[text.find("http") :] if "http" in text else text) for text in texts):
                severity = Severity.INFO
            self.suspect(Rule.SCAN_DOWNLOAD_RUN, severity, node, "It runs what it gets from the network.")

    def sends(self, labels: Label, node: Syntax) -> None:
        self.notes.sends(labels, self.at(node))

    def _redirected(self, node: Syntax) -> None:
        found = list(commands_in(self.words, node))
        labels = Label.NONE
        for command in found:
            labels |= self.of_command(command)
        for command in found:
            for one in command.redirects:
                self.redirect(command, one.operator, one.place, labels)
            for text in command.texts:
                self._here(command, text)

    def redirect(self, command: Command, operator: str, place: Word, labels: Label) -> None:
        if REVERSE.search(place.text):
            interactive = command.program in tables.INTERPRETERS or command.program in {"exec", "cat", ""}
            severity = Severity.ERROR if command.program in tables.INTERPRETERS else Severity.WARNING
            if interactive:
                self.suspect(Rule.SCAN_REVERSE_SHELL, severity, place.node, f"A shell is connected to {place.text}.")
            self.act(Kind.NETWORK, place.text.split("/")[3] if place.text.count("/") > 3 else UNKNOWN, place.node)
        elif ">" in operator and not operator.startswith((">&", "<&")):
            self.writes(place, command)
            if labels & (Label.DOWNLOADED | Label.DECODED | Label.CREDENTIAL | Label.ACCOUNT | Label.ENVIRONMENT):
                self.files[place.text] = self.files.get(place.text, Label.NONE) | labels

    def writes(self, place: Word, command: Command) -> None:
        judged = places.written(place.text)
        if judged is not None:
            setting = command.program in {"echo", "printf"} and any(
                SETTING.match(word.text) for word in command.arguments
            )
            severity = Severity.INFO if setting and judged.rule is Rule.SCAN_PERSISTENCE else judged.severity
            self.suspect(judged.rule, severity, place.node, judged.message)
        if places.is_noted(place.text) and "$" not in place.text:
            self.act(Kind.WRITE, places.normal(place.text), place.node)

    def _here(self, command: Command, text: Word) -> None:
        if self.interprets(command):
            if SUBSTITUTED.search(text.text) and command.texts and "herestring" not in text.node.kind:
                self.runs(self.labels(text.node), command.node)
            self.inner(command, text)
            return
        for one in command.redirects:
            language = SUFFIXES.get(one.place.text.rpartition(".")[2]) if ">" in one.operator else None
            if language is not None:
                self.notes.inner.append(Inner(language, text.text, self.at(text.node)))

    def command(self, command: Command) -> None:
        from_words = [word for word in command.words if word.node.kind != "heredoc_body"]
        if not from_words:
            return
        program = command.program
        self.note_program(command, program)
        for word in command.arguments:
            self._word(command, word)
        self.programs(self, command)

    def note_program(self, command: Command, program: str) -> None:
        name = command.words[0]
        if name.hidden and (program in tables.INTERPRETERS | tables.LANGUAGES | tables.SENDERS or program == "base64"):
            self.suspect(
                Rule.SCAN_OBFUSCATION, Severity.WARNING, name.node, f"It calls {program} in a way that hides it."
            )
        if "$" in program or not program:
            self.act(Kind.COMMAND, UNKNOWN, command.node)
        elif program not in tables.PLAIN and not program.startswith((".", "-")):
            self.act(Kind.COMMAND, program[:100], command.node)

    def _word(self, command: Command, word: Word) -> None:
        text = word.text
        for host in places.hosts(text):
            if command.program not in tables.PLAIN - {"cat"}:
                self._host(host, word.node)
        if command.program in tables.SENDERS and places.METADATA.search(text.split("/")[0]):
            self._host(text.split("/")[0], word.node)
        place = text.rpartition("@")[2] if "@" in text else text.rpartition("=")[2] if text.startswith("-") else text
        judged = places.read(place) if command.program not in tables.KEY_USERS - {"cp", "mv", "find", "grep"} else None
        if judged is not None and not any(one in command.words[0].text for one in ("keytool",)):
            self.suspect(judged.rule, judged.severity, word.node, judged.message)
        elif (
            places.is_noted(place)
            and "$" not in place
            and command.program not in {"sed", "echo", "printf", "grep", "awk"}
        ):
            self.act(Kind.READ, places.normal(place), word.node)
        blob = obfuscation.of_text(text)
        if blob is not None:
            self.suspect(blob.rule, blob.severity, word.node, blob.message)

    def _host(self, host: str, node: Syntax) -> None:
        self.act(Kind.NETWORK, host, node)
        judged = places.host(host)
        if judged is not None:
            self.suspect(judged.rule, judged.severity, node, judged.message)

    def destination(self, command: Command) -> Word | None:
        """Where a copying command writes: its last word."""
        plain = [word for word in command.arguments if not word.text.startswith("-")]
        return plain[-1] if len(plain) > 1 else None
