"""Landlock: what a process and all it starts may open, connect to and signal, given up for good."""

import ctypes
import os

from atom.skills.sandbox.supervisor import linux

CREATE, ADD, RESTRICT = 444, 445, 446  # landlock_create_ruleset, _add_rule, _restrict_self
VERSION = 1
PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # bits that each version of Landlock knows
TCP = 3  # bind, connect: from version 4
SCOPES = 3  # abstract unix sockets, signals: from version 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Of the running kernel; 0 where it has none."""
    try:
        return linux.syscall(CREATE, None, 0, VERSION)
    except OSError:
        return 0


def restrict(*, read: list[str] | None, write: list[str] | None) -> None:
    """Nothing but reading and executing under `read`, and everything but devices under `write`. None: files as before.

    TCP, abstract sockets and signals to the outside are given up too, as far as the kernel knows how.
    """
    found = version()
    files = (1 << FILE_RIGHTS.get(found, 16)) - 1 if read is not None else 0
    rules = _Ruleset(files, TCP if found >= 4 else 0, SCOPES if found >= 6 else 0)
    size = 24 if found >= 6 else 16 if found >= 4 else 8
    ruleset = linux.syscall(CREATE, ctypes.byref(rules), size, 0)
    for path in read or ():
        _allow(ruleset, path, (EXECUTE | READ_FILE | READ_DIR) & files)
    for path in write or ():
        _allow(ruleset, path, files & ~(MAKE_CHAR | MAKE_BLOCK))
    linux.syscall(RESTRICT, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # not every machine has every folder of a system
    if not os.path.isdir(path):
        rights &= OF_A_FILE
    rule = _PathBeneath(rights, parent)
    linux.syscall(ADD, ruleset, PATH_BENEATH, ctypes.byref(rule), 0)
    os.close(parent)
