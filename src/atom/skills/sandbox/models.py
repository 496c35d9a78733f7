"""What an execution is to be, what came of it, and what a sandbox was seen to promise."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from types import MappingProxyType
from uuid import UUID

from atom.errors import InvalidError
from atom.kit.ids import new_id
from atom.skills.sandbox import hosts

MAX_FILES = 500
MAX_NAME = 200
MAX_ARGUMENTS = 64
MAX_ARGUMENT_BYTES = 32_768
MAX_LAYERS = 8
RESERVED = frozenset({"output", "tmp"})  # folders that are there in every execution
MIB = 1 << 20


class Guarantee(StrEnum):
    FS_HOST_READ_DENIED = "fs_host_read_denied"
    FS_ROOT_READONLY = "fs_root_readonly"
    FS_WRITE_QUOTA = "fs_write_quota"
    ENV_SECRETS_HIDDEN = "env_secrets_hidden"
    FD_HYGIENE = "fd_hygiene"
    NET_NONE = "net_none"
    NET_ALLOWLIST = "net_allowlist"
    PID_ISOLATION = "pid_isolation"
    TREE_KILL = "tree_kill"
    MEM_LIMIT = "mem_limit"
    CPU_LIMIT = "cpu_limit"
    PIDS_LIMIT = "pids_limit"
    WALL_TIMEOUT = "wall_timeout"
    OUTPUT_LIMIT = "output_limit"
    UID_NONROOT = "uid_nonroot"
    CAPS_NONE = "caps_none"
    NO_NEW_PRIVS = "no_new_privs"
    SYSCALL_FILTER = "syscall_filter"
    USERNS_DENIED = "userns_denied"
    FRESH_STATE = "fresh_state"


class Level(IntEnum):
    """How far a guarantee was seen to hold. `best_effort`: for one process only, or after it had been passed."""

    ABSENT = 0
    BEST_EFFORT = 1
    ENFORCED = 2

    def __str__(self) -> str:
        return self.name.lower()


class ExitReason(StrEnum):
    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    OOM = "oom"
    PIDS = "pids"
    DISK = "disk"
    OUTPUT = "output"
    KILLED = "killed"
    POLICY = "policy"
    ENGINE = "engine"


class Language(StrEnum):
    PYTHON = "python"
    BASH = "bash"
    NODE = "node"


# What nobody should run foreign code without. Amounts may be kept by watching; ways out may not be open for a moment.
AMOUNTS = frozenset({Guarantee.MEM_LIMIT, Guarantee.CPU_LIMIT, Guarantee.PIDS_LIMIT, Guarantee.FS_WRITE_QUOTA})
NEEDS: Mapping[Guarantee, Level] = MappingProxyType(
    {
        guarantee: Level.BEST_EFFORT if guarantee in AMOUNTS else Level.ENFORCED
        for guarantee in Guarantee
        if guarantee is not Guarantee.NET_ALLOWLIST
    }
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes are bytes, times seconds. `output` bounds stdout and stderr together, and the result."""

    memory: int = 2048 * MIB
    cpus: float = 2.0
    seconds: float = 300.0
    pids: int = 128
    output: int = 1_000_000
    disk: int = 256 * MIB
    artefacts: int = 64
    artefact_bytes: int = 32 * MIB
    transfer: int = 256 * MIB  # to and from hosts, together

    def __post_init__(self) -> None:
        counts = (self.memory, self.pids, self.output, self.disk, self.artefacts, self.artefact_bytes, self.transfer)
        if min(counts) < 1:
            raise InvalidError("A limit of the sandbox is below 1.")
        if not (0 < self.cpus <= 1024 and 0 < self.seconds <= 86_400):
            raise InvalidError("A limit of the sandbox on time is out of range.")


@dataclass(frozen=True, slots=True)
class Spec:
    """A program and what it gets. It works in a folder that holds `files` and the empty folders `output` and `tmp`.

    `entry` names one of `files`, `arguments` follow it on its command line; `input` is what it reads on standard input
    (JSON). `needs` has the least level of each guarantee without which it must not run. `layers` are
    folders of packages on this machine (absolute) that it can read and import from. Raises InvalidError for names that
    could lead out of the folder.

    `hosts` are all that it may reach, through a proxy: `example.com` or `*.example.com`, with `:port` unless it is 443
    or 80. Where there are any, it needs NET_ALLOWLIST in the place of NET_NONE.
    """

    language: Language
    entry: str
    files: Mapping[str, bytes]
    input: bytes = b"null"
    limits: Limits = field(default_factory=Limits)
    needs: Mapping[Guarantee, Level] = field(default_factory=lambda: NEEDS)
    id: UUID = field(default_factory=new_id)
    arguments: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.hosts:
            hosts.check(self.hosts)
            object.__setattr__(self, "needs", _with_hosts(self.needs))
        if self.entry not in self.files:
            raise InvalidError("The program to start is not among the files.", field="entry")
        if len(self.files) > MAX_FILES:
            raise InvalidError(f"More than {MAX_FILES} files.", field="files")
        if len(self.arguments) > MAX_ARGUMENTS:
            raise InvalidError(f"More than {MAX_ARGUMENTS} arguments.", field="arguments")
        if any("\0" in one or len(one.encode("utf-8", "replace")) > MAX_ARGUMENT_BYTES for one in self.arguments):
            raise InvalidError("An argument is too long, or has a NUL character.", field="arguments")
        for name in self.files:
            if not is_plain(name):
                raise InvalidError("A file's name is not a plain relative path.", field="files", name=name[:MAX_NAME])
        if sum(map(len, self.files.values())) > self.limits.disk:
            raise InvalidError("The files are larger than the disk they would get.", field="files")
        if len(self.layers) > MAX_LAYERS or not all(map(_is_folder, self.layers)):
            raise InvalidError(f"Layers are at most {MAX_LAYERS} absolute paths without a colon.", field="layers")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a canary did and what came of it."""

    level: Level
    canary: str
    value: str
    at: datetime

    def plain(self) -> dict[str, object]:
        return {"level": str(self.level), "canary": self.canary, "value": self.value, "at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Report:
    """What a sandbox was seen to do, never what it says of itself. `notes` say what was not taken, and why."""

    backend: str
    evidence: Mapping[Guarantee, Evidence]
    languages: tuple[Language, ...]
    at: datetime
    notes: tuple[str, ...] = ()

    def level(self, guarantee: Guarantee) -> Level:
        found = self.evidence.get(guarantee)
        return Level.ABSENT if found is None else found.level

    def lacks(self, needs: Mapping[Guarantee, Level]) -> list[str]:
        """A sentence for each need that is not met; empty when all are."""
        return [
            f"{guarantee} is {self.level(guarantee)}, {level} is needed: {self._seen(guarantee)}"
            for guarantee, level in needs.items()
            if self.level(guarantee) < level
        ]

    def plain(self) -> dict[str, object]:
        return {
            "backend": self.backend,
            "at": self.at.isoformat(),
            "languages": [str(language) for language in self.languages],
            "usable": not self.lacks(NEEDS),
            "lacks": self.lacks(NEEDS),
            "notes": list(self.notes),
            "guarantees": {str(name): found.plain() for name, found in self.evidence.items()},
        }

    def _seen(self, guarantee: Guarantee) -> str:
        found = self.evidence.get(guarantee)
        return "no canary looked at it" if found is None else f"{found.canary}: {found.value}"


@dataclass(frozen=True, slots=True)
class Usage:
    """`memory` is the most bytes held at a time: of all with a control group, else of the largest process."""

    cpu_seconds: float = 0.0
    memory: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file from the output folder. `name` is relative to it."""

    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Connection:
    """Connections that went alike, and how many. `reason` is a stable word: why not, or what cut them short.

    `port` 0 and `host` empty: it was refused before it named one, or there were too many different ones. `sent` and
    `received` are bytes, of all of them together.
    """

    host: str
    port: int
    allowed: bool
    reason: str
    count: int
    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """`detail` is a sentence for people. `value` is the program's result (JSON) when `has_value`.

    `refused` are entries of the output folder that were not taken, with the reason. `levels` is what it ran with.
    `connections` are all that it tried to make, where it had hosts.
    """

    id: UUID
    backend: str
    reason: ExitReason
    detail: str
    exit_code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    value: object = None
    has_value: bool = False
    artefacts: tuple[Artefact, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    usage: Usage = Usage()
    levels: Mapping[Guarantee, Level] = field(default_factory=dict)
    connections: tuple[Connection, ...] = ()


def _with_hosts(needs: Mapping[Guarantee, Level]) -> Mapping[Guarantee, Level]:
    others: dict[Guarantee, Level] = {
        guarantee: level for guarantee, level in needs.items() if guarantee is not Guarantee.NET_NONE
    }
    return {**others, Guarantee.NET_ALLOWLIST: Level.ENFORCED}


def _is_folder(path: str) -> bool:
    return path.startswith("/") and path != "/" and posixpath.normpath(path) == path and ":" not in path


def is_plain(name: str) -> bool:
    """Whether a file of this name lies in an execution's folder, wherever names are looked at."""
    parts = name.split("/")
    return (
        0 < len(name.encode("utf-8", "replace")) <= MAX_NAME
        and name.isprintable()
        and "\\" not in name
        and posixpath.normpath(name) == name
        and parts[0] not in {"", ".", "..", *(RESERVED if len(parts) == 1 else ())}
    )
