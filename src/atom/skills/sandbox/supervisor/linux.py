"""Calls of the kernel that Python has no name for. Each raises OSError."""

import ctypes
import os

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER, PR_SET_SECCOMP, PR_SET_DUMPABLE = 1, 38, 36, 22, 4
SECCOMP_MODE_FILTER = 2
SECCOMP = {"x86_64": 317, "aarch64": 277}  # the call's number
SECCOMP_SET_MODE_FILTER = 1
# NEW_LISTENER | WAIT_KILLABLE_RECV (from 5.19): no signal comes between a call and its answer.
SECCOMP_LISTENED = 8 | 32
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 0x4000, 0x40000
OPENAT2 = 437
# RESOLVE_NO_XDEV | NO_MAGICLINKS | NO_SYMLINKS | BENEATH
RESOLVE_INSIDE = 0x1 | 0x2 | 0x4 | 0x8

_libc = ctypes.CDLL(None, use_errno=True)


class _SockFprog(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *arguments: object) -> int:
    """`arguments` are whole numbers, or what ctypes passes by pointer."""
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return checked(int(_libc.syscall(ctypes.c_long(number), *passed)), f"system call {number}")


def prctl(option: int, value: int) -> None:
    checked(
        _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)), "prctl"
    )


def set_seccomp_filter(filter_bytes: bytes) -> None:
    program = _SockFprog(len(filter_bytes) // 8, filter_bytes)
    zero = ctypes.c_ulong(0)
    arguments = (ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(program), zero, zero)
    checked(_libc.prctl(PR_SET_SECCOMP, *arguments), "seccomp")


def listen_by_seccomp_filter(filter_bytes: bytes) -> int:
    """Install a filter; the descriptor through which the calls that it hands over are heard."""
    program = _SockFprog(len(filter_bytes) // 8, filter_bytes)
    number = SECCOMP[os.uname().machine]
    try:
        return syscall(number, SECCOMP_SET_MODE_FILTER, SECCOMP_LISTENED, ctypes.byref(program))
    except OSError as error:  # EINVAL before 5.19, EBUSY where somebody around us listens already
        raise OSError(error.errno, f"connections cannot be handed over (from Linux 5.19): {error.strerror}") from error


def unshare(flags: int) -> None:
    checked(_libc.unshare(flags), "unshare")


def mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, options: bytes | None) -> None:
    checked(_libc.mount(source, target, kind, ctypes.c_ulong(flags), options), "mount")


def umount(target: bytes) -> None:
    checked(_libc.umount2(target, 2), "umount")  # MNT_DETACH


def open_inside(folder: int, name: str, flags: int) -> int:
    """Open what is in `folder` and nowhere else: no link of any kind is followed, no mount crossed."""
    how = _OpenHow(flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0, RESOLVE_INSIDE)
    return syscall(OPENAT2, folder, ctypes.c_char_p(os.fsencode(name)), ctypes.byref(how), ctypes.sizeof(how))
