"""The one way out of a program that may reach single hosts: its connect() is answered by the supervisor.

A filter of system calls hands each connect() over (seccomp user notification). Where it asks for the proxy, the
supervisor connects a socket of its own to the proxy and puts it in the place of the program's. Whatever the program
says or changes meanwhile, nothing but that connection can come of it: the call itself is never let through, and what is
read of the program's memory decides only whether it gets that connection or an error.
"""

import fcntl
import os
import socket
import struct

from atom.skills.sandbox.supervisor import linux, seccomp

ADDRESS, PORT = (
    "192.0.0.8",
    3128,
)  # what a program finds in HTTP_PROXY; nobody's address (RFC 7600): no packet goes there
RECEIVE, SEND, ADD_FILE = 0xC0502100, 0xC0182101, 0x40182103  # SECCOMP_IOCTL_NOTIF_*
NOTICE = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif
ANSWER = struct.Struct("=QqiI")  # struct seccomp_notif_resp
FILE = struct.Struct("=QIIII")  # struct seccomp_notif_addfd
SET_NUMBER = 1  # SECCOMP_ADDFD_FLAG_SETFD
CONNECT_SECONDS = 1.0  # to the proxy, on this machine
MOST_TOLD = 64
MOST_GIVEN = 4096  # more than the proxy takes of one execution
EBADF, EFAULT, EINVAL, ENOTSOCK, EAFNOSUPPORT, ENETUNREACH, EISCONN, ECONNREFUSED = 9, 14, 22, 88, 97, 101, 106, 111


class Detour:
    """`proxy` is a port of this machine's loopback; 0: there is no way out, and nothing is done here.

    `listener` is readable while a connect() waits, -1 before. `told` are addresses asked for directly, with counts.
    """

    def __init__(self, proxy: int) -> None:
        self.proxy = proxy
        self.pair: tuple[socket.socket, socket.socket] | None = socket.socketpair() if proxy else None
        self.listener = -1
        self.given: set[str] = set()
        self.told: dict[tuple[str, int], int] = {}

    @property
    def kept(self) -> list[int]:
        """What the child needs to enter."""
        return [self.pair[1].fileno()] if self.pair else []

    def enter(self) -> None:
        """In the child, which has no new privileges: from here on its connect() waits for the supervisor."""
        if self.pair:
            listener = linux.listen_by_seccomp_filter(seccomp.notifying())
            socket.send_fds(self.pair[1], [b"l"], [listener])
            os.close(listener)
            self.pair[1].close()

    def hear(self) -> None:
        """In the supervisor, once the child has entered."""
        if self.pair:
            ours, theirs = self.pair
            theirs.close()
            files = socket.recv_fds(ours, 1, 1)[1]
            ours.close()
            if not files:
                raise OSError("the child's connections cannot be heard")
            self.listener = files[0]

    def close(self) -> None:
        if self.listener >= 0:
            os.close(self.listener)
            self.listener = -1

    def serve(self) -> None:
        """Answer the connect() that waits, if it still does."""
        notice = bytearray(NOTICE.size)
        try:
            fcntl.ioctl(self.listener, RECEIVE, notice, True)
            call, thread, _, _, _, _, file, address, length, *_ = NOTICE.unpack(notice)
            try:
                error = self._connect(call, thread, file & 0xFFFFFFFF, address, length & 0xFFFFFFFF)
            except OSError:  # it closed what it asked for, or may not be looked at
                error = ECONNREFUSED
            fcntl.ioctl(self.listener, SEND, ANSWER.pack(call, 0, -error, 0))
        except FileNotFoundError:
            return  # whoever asked has ended

    def _connect(self, call: int, thread: int, file: int, address: int, length: int) -> int:
        """0, or the error that connect() returns."""
        found = link(thread, file)
        if not found.startswith("socket:"):
            return ENOTSOCK if found else EBADF
        if found in self.given:
            return EISCONN
        asked = _asked(thread, address, length)
        if isinstance(asked, int):
            return asked
        if asked != (ADDRESS, PORT):
            if asked in self.told or len(self.told) < MOST_TOLD:
                self.told[asked] = self.told.get(asked, 0) + 1
            return ENETUNREACH
        if len(self.given) >= MOST_GIVEN:
            return ECONNREFUSED
        with socket.socket() as way:
            way.settimeout(CONNECT_SECONDS)
            try:
                way.connect(("127.0.0.1", self.proxy))
                way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what most set before they connect
            except OSError:
                return ECONNREFUSED
            self._give(call, thread, found, way)
        return 0

    def _give(self, call: int, thread: int, found: str, way: socket.socket) -> None:
        """In the place of the socket, under all numbers that the process has for it, and as it was: blocking or not."""
        numbers = [number for number in _numbers(thread) if link(thread, number) == found]
        flags = [_flags(thread, number) for number in numbers]
        way.setblocking(not any(flag & os.O_NONBLOCK for flag in flags))
        self.given.add(os.readlink(f"/proc/self/fd/{way.fileno()}"))
        for number, flag in zip(numbers, flags, strict=True):
            request = FILE.pack(call, SET_NUMBER, way.fileno(), number, flag & os.O_CLOEXEC)
            fcntl.ioctl(self.listener, ADD_FILE, request)


def link(thread: int, file: int) -> str:
    """What a descriptor of a thread is; empty when it is none."""
    try:
        return os.readlink(f"/proc/{thread}/fd/{file}")
    except OSError:
        return ""


def _numbers(thread: int) -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{thread}/fd")]


def _flags(thread: int, file: int) -> int:
    with open(f"/proc/{thread}/fdinfo/{file}", "rb", buffering=0) as info:
        words = info.read(4096).split()
    return int(words[words.index(b"flags:") + 1], 8)


def _asked(thread: int, address: int, length: int) -> "tuple[str, int] | int":
    """The address that connect() was given, or the error for one that is none."""
    if not 2 <= length <= 128:
        return EINVAL
    try:
        memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            body = os.pread(memory, length, address)
        finally:
            os.close(memory)
    except (OSError, OverflowError):
        return EFAULT
    return read_address(body)


def read_address(body: bytes) -> "tuple[str, int] | int":
    """Host and port of a `struct sockaddr`, or an error number."""
    family = int.from_bytes(body[:2], "little")
    if family == socket.AF_INET and len(body) >= 8:
        return socket.inet_ntop(socket.AF_INET, body[4:8]), int.from_bytes(body[2:4], "big")
    if family == socket.AF_INET6 and len(body) >= 24:
        mapped = body[8:20] == bytes(10) + b"\xff\xff"
        text = socket.inet_ntop(*((socket.AF_INET, body[20:24]) if mapped else (socket.AF_INET6, body[8:24])))
        return text, int.from_bytes(body[2:4], "big")
    return EINVAL if family in {socket.AF_INET, socket.AF_INET6} else EAFNOSUPPORT
