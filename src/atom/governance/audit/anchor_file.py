"""The append-only file of anchors. Processes that share a home take turns."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atom.governance.audit.anchors import LONGEST_LINE, Anchor, AnchorError, parse


@dataclass(frozen=True, slots=True)
class AnchorFile:
    path: Path

    def append(self, decide: Callable[[Anchor | None], Sequence[Anchor]]) -> Sequence[Anchor]:
        """Adds what `decide` makes of the newest anchor, durably, and returns it. Raises OSError."""
        with self._held() as descriptor:
            fresh = decide(self._newest(descriptor))
            if fresh:
                size = os.fstat(descriptor).st_size
                torn = size and os.pread(descriptor, 1, size - 1) != b"\n"  # a write that a crash cut short
                text = ("\n" if torn else "") + "".join(f"{anchor.line()}\n" for anchor in fresh)
                os.write(descriptor, text.encode("ascii"))
                os.fsync(descriptor)
        return fresh

    def newest(self) -> Anchor | None:
        """Raises OSError."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return self._newest(descriptor)
        finally:
            os.close(descriptor)

    def lines(self, *, after: int = 0) -> Iterator[str]:
        """Those behind line `after`; none when there is no file. Raises OSError."""
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                for number, line in enumerate(file, 1):
                    if number > after:
                        yield line.rstrip("\n")
        except FileNotFoundError:
            return

    @contextmanager
    def _held(self) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _newest(self, descriptor: int) -> Anchor | None:
        size = os.fstat(descriptor).st_size
        start = max(0, size - 4 * LONGEST_LINE)
        tail = os.pread(descriptor, size - start, start).decode("utf-8", "replace")
        for line in reversed(tail.splitlines()):
            try:
                return parse(line)
            except AnchorError:
                continue
        return None
