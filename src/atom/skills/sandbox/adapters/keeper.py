"""The process that Atom asks for supervisors; started when the first is wanted, and again when it is gone."""

import asyncio
import socket
import subprocess
import sys
import threading
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass, field
from pathlib import Path

import atom
from atom.skills.sandbox.place import Place

SOURCE = str(Path(atom.__file__).resolve().parents[1])
START = f"import sys; sys.path.append({SOURCE!r}); from atom.skills.sandbox.supervisor.keeper import run; run()"
ATTEMPTS = 2  # the second with a new one
BUFFER = 1 << 20


@dataclass(slots=True)
class Keeper:
    """`python` runs it, as the account of `place`."""

    place: Place
    python: str = str(Path(sys.executable).resolve())
    process: "subprocess.Popen[bytes] | None" = None
    control: socket.socket | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def connect(self) -> tuple[StreamReader, StreamWriter]:
        """A supervisor of its own, that waits for its request. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            await asyncio.to_thread(self._hand_over, theirs)
            ours.setblocking(False)
            return await asyncio.open_connection(sock=ours, limit=BUFFER)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def close(self) -> None:
        """End it. Supervisors that are at work go on to their end."""
        with self.lock:
            self._close()

    def _close(self) -> None:
        if self.control is not None:
            self.control.close()
        if self.process is not None:
            self.process.wait()
        self.control, self.process = None, None

    def _hand_over(self, connection: socket.socket) -> None:
        with self.lock:
            for attempt in range(ATTEMPTS):
                if self.process is None or self.control is None or self.process.poll() is not None:
                    self._close()
                    self._start()
                if self.control is None:
                    continue
                try:
                    socket.send_fds(self.control, [b"s"], [connection.fileno()])
                except BrokenPipeError:
                    if attempt + 1 == ATTEMPTS:
                        raise
                    self._close()
                else:
                    return

    def _start(self) -> None:
        account = self.place.account
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [self.python, "-I", "-S", "-c", START],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=() if account else None,
            )
