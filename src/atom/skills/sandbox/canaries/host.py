"""What the canaries are to find, or not to find, on the machine's side: files, sockets, a process with a secret."""

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BAIT_BODY = "what nobody inside may read\n"


@dataclass(frozen=True, slots=True)
class Host:
    """Bait, and what can be seen of it afterwards."""

    run: str
    secret: str
    file: Path
    tcp: socket.socket
    udp: socket.socket
    abstract: socket.socket
    path: socket.socket
    helper: "subprocess.Popen[bytes]"

    def told(self) -> dict[str, object]:
        """What the canary needs to know."""
        return {
            "run": self.run,
            "digests": digests(),
            "secret": self.secret,
            "secret_file": str(self.file),
            "port": self.tcp.getsockname()[1],
            "udp": self.udp.getsockname()[1],
            "abstract": f"atom-canary-{self.run}",
            "unix": self.path.getsockname(),
            "helper": self.helper.pid,
        }

    def reached(self) -> list[str]:
        """Sockets that something came through."""
        found = []
        for name, one in (("TCP", self.tcp), ("abstract unix", self.abstract)):
            with contextlib.suppress(BlockingIOError):
                one.accept()[0].close()
                found.append(name)
        for name, one in (("UDP", self.udp), ("unix", self.path)):
            with contextlib.suppress(BlockingIOError):
                one.recv(10)
                found.append(name)
        return found

    def changed(self, before: os.stat_result) -> list[str]:
        """What is no longer as it was about the file."""
        try:
            now, body = self.file.stat(), self.file.read_text("utf-8")
        except OSError:
            return ["the file is gone"]
        names = ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_nlink")
        changes = [name for name in names if getattr(now, name) != getattr(before, name)]
        return changes + ([] if body == BAIT_BODY else ["its text"])


def digests() -> list[str]:
    """Of the machine's lists of users: an image may have such a file of its own, which tells nothing."""
    found = []
    for path in (Path("/etc/passwd"), Path("/etc/shadow")):
        with contextlib.suppress(OSError):
            found.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return found


@contextlib.contextmanager
def bait(owner: tuple[int, int] | None) -> Iterator[Host]:
    """Everything a program of `owner` (uid, gid; None: this process) could reach without a sandbox."""
    run = secrets.token_hex(8)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atom-canary-")))
        file = folder / "secret"
        file.write_text(BAIT_BODY, "utf-8")
        file.chmod(0o666)  # its mode is no protection: the sandbox has to be
        folder.chmod(0o777)
        if owner is not None:
            os.chown(file, *owner)
        sockets = [
            stack.enter_context(socket.socket(family, kind))
            for family, kind in (
                (socket.AF_INET, socket.SOCK_STREAM),
                (socket.AF_INET, socket.SOCK_DGRAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
                (socket.AF_UNIX, socket.SOCK_DGRAM),
            )
        ]
        for one in sockets[:2]:
            one.bind(("127.0.0.1", 0))
        sockets[2].bind(f"\0atom-canary-{run}")
        sockets[3].bind(str(folder / "socket"))
        (folder / "socket").chmod(0o777)
        for one in sockets:
            one.setblocking(False)
        sockets[0].listen()
        sockets[2].listen()
        secret = f"canary-{secrets.token_hex(16)}"
        helper = stack.enter_context(_helper(secret, owner))
        leak = stack.enter_context(file.open("rb"))
        os.set_inheritable(leak.fileno(), True)  # what a careless parent leaves open
        yield Host(run, secret, file, sockets[0], sockets[1], sockets[2], sockets[3], helper)


@contextlib.contextmanager
def _helper(secret: str, owner: tuple[int, int] | None) -> Iterator["subprocess.Popen[bytes]"]:
    """A process outside that holds a secret in its environment, until its input closes."""
    with subprocess.Popen(
        [shutil.which("cat") or "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={"ATOM_CANARY": secret},
        user=owner[0] if owner else None,
        group=owner[1] if owner else None,
        extra_groups=() if owner else None,
    ) as process:
        try:
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


def living(marker: str) -> list[int]:
    """Processes that have `marker` on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
    return found
