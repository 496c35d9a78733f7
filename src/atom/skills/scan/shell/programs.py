"""What single programs do."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from atom.skills.findings import Rule, Severity
from atom.skills.ports import Language, Syntax
from atom.skills.scan import places
from atom.skills.scan.models import UNKNOWN, Inner, Kind, Label
from atom.skills.scan.shell import tables
from atom.skills.scan.shell.commands import Command, commands_in
from atom.skills.scan.shell.effects import Reader
from atom.skills.scan.shell.words import Word, walk

SHELL_OF = re.compile(r"(^|[\s:'\"=,/])(/bin/|/usr/bin/)?(ba|z|da|k|c)?sh\b|cmd(\.exe)?|powershell", re.IGNORECASE)
SOCKET = re.compile(r"socket|TCPSocket|fsockopen|IO::Socket|Net\.Sockets|net\.connect", re.IGNORECASE)
SPAWNS = re.compile(r"\bexec\b|dup2|pty\.spawn|/bin/(ba)?sh|spawn\(|proc_open", re.IGNORECASE)
ENCODED = re.compile(r"-e(nc|ncodedcommand|c)?$", re.IGNORECASE)


def done_by(reader: Reader, command: Command) -> None:
    for method in (*EVERY, *ACTS.get(command.program, ())):
        method(reader, command)


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
            reader.suspect(
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
        reader.suspect(
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
        reader.suspect(
            Rule.SCAN_REVERSE_SHELL, Severity.ERROR, word.node, "It gives a shell to whoever it connects to."
        )
    if tables.FETCH_RUN.search(word.text[:5000]):
        reader.suspect(Rule.SCAN_DOWNLOAD_RUN, Severity.WARNING, word.node, "It runs what it gets from the network.")
    for line in (
        re.findall(r'do shell script\s+"((?:[^"\\]|\\.)*)"', word.text[:5000]) if command.program == "osascript" else ()
    ):
        reader.notes.inner.append(Inner(Language.SHELL, line.replace('\\"', '"'), reader.at(word.node)))


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
        reader.act(Kind.NETWORK, places.host_of(bare.split("/")[0]) if bare else UNKNOWN, command.node)
        judged = places.host(bare.split("/")[0].rpartition(":")[0] or bare.split("/")[0]) if bare else None
        if judged is not None:
            reader.suspect(judged.rule, judged.severity, command.node, judged.message)
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
    reader.act(Kind.NETWORK, host if "$" not in first else UNKNOWN, command.node)
    if command.program in {"nc", "ncat", "netcat", "socat"}:
        executes = command.has("-e", "-c", "--exec", "--sh-exec", "-lvpe", "-nve") or any(
            "EXEC:" in one.upper() or "SYSTEM:" in one.upper() for one in plain
        )
        if executes and any(SHELL_OF.search(one) for one in plain):
            reader.suspect(
                Rule.SCAN_REVERSE_SHELL, Severity.ERROR, command.node, "It gives a shell to whoever it connects to."
            )
        judged = places.host(host)
        if judged is not None and not executes:
            reader.suspect(judged.rule, judged.severity, command.node, judged.message)
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
        "defaults": any("loginhook" in word for word in words),
        "at": bool(words) and TIME.fullmatch(words[0]) is not None,
        "register-scheduledtask": True, "new-scheduledtask": True,
    }.get(command.program, False)  # fmt: skip
    if said:
        reader.suspect(
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
        reader.suspect(
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
        reader.suspect(
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
    rest = words[words.index(verb) + 1 :] if verb and (program, verb) in tables.PACKAGERS else words[1:]
    one_only = program in {"npx", "bunx", "uvx"} or verb in {"exec", "dlx", "run"}
    if verb in {"tool", "global"}:
        rest = [word for word in rest if word not in {"install", "run", "add"}]
    skip, found = False, 0
    for word in rest:
        if not skip and not word.startswith("-") and not (one_only and found):
            found += 1
            reader.notes.act(Kind.PACKAGE, f"{system}:{word[:200]}", reader.at(command.node))
        skip = word in tables.PACKAGE_VALUES or tables.INDEX.fullmatch(word) is not None
    for number, word in enumerate(words):
        option, _, value = word.partition("=")
        if tables.INDEX.fullmatch(option) and (program != "npx" or option != "-i"):
            address = value or (words[number + 1] if number + 1 < len(words) else "")
            if places.URL_START.search(address) and not tables.OFFICIAL.search(address):
                reader.suspect(
                    Rule.SCAN_PACKAGE_SOURCE, Severity.WARNING, command.node, f"Packages come from {address[:100]}."
                )


def _fifo(reader: Reader, command: Command) -> None:
    """`mkfifo f; sh < f | nc host 1 > f`."""
    text = reader.words.offsets.data.decode("utf-8", "replace")[:200_000]
    if re.search(r"\b(nc|ncat|netcat|telnet|openssl s_client)\b", text) and re.search(
        r"\b(ba|z)?sh\b\s+-i|/bin/(ba)?sh\b", text
    ):
        reader.suspect(
            Rule.SCAN_REVERSE_SHELL, Severity.ERROR, command.node, "It gives a shell to whoever it connects to."
        )


def _find(reader: Reader, command: Command) -> None:
    words = command.arguments
    at = next((n for n, word in enumerate(words) if word.text in {"-exec", "-execdir", "-ok"}), None)
    if at is not None and at + 1 < len(words):
        run = Command(command.node, [word for word in words[at + 1 :] if word.text not in {";", "+", "{}"}])
        reader.command(run)
        if run.program in tables.SENDERS and any(places.HUNTED.search(word.text) for word in words[:at]):
            reader.notes.sends(Label.CREDENTIAL, reader.at(command.node))


def _each(
    names: Iterable[str], method: Callable[[Reader, Command], None]
) -> dict[str, tuple[Callable[[Reader, Command], None], ...]]:
    return dict.fromkeys(names, (method,))


TIME = re.compile(r"now|midnight|noon|tomorrow|teatime|-f|\d{1,2}:\d\d|\d{1,2}[ap]m")
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
EVERY: Sequence[Callable[[Reader, Command], None]] = (_runs_argument, _runs_file)
ACTS: Mapping[str, Sequence[Callable[[Reader, Command], None]]] = {
    **_each(tables.FETCHERS, _fetch),
    **_each(tables.CONNECTORS, _connect),
    **_each(("crontab", "systemctl", "launchctl", "schtasks", "reg", "update-rc.d", "chkconfig", "git", "defaults",
    "at"), _persist),
    **_each(("register-scheduledtask", "new-scheduledtask"), _persist),
    **_each(tables.COPIERS - tables.CONNECTORS, _copy),
    **_each(tables.ARCHIVERS, _archive),
    **_each(("rm", "dd", "shred", "mkfs", "mkfs.ext4", "chmod", "chown"), _destroy),
    **_each({program for program, _ in tables.PACKAGERS} | {"python", "uv"}, _install),
    "tee": (_tee,), "sed": (_edit,), "security": (_keychain,), "secret-tool": (_keychain,), "mkfifo": (_fifo,),
    "mknod": (_fifo,),
    "find": (_destroy, _find),
}  # fmt: skip
