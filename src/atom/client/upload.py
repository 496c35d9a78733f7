"""A file that says how much of it was read: what an upload's progress bar shows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, cast

Progress = Callable[[int], None]


@dataclass(slots=True)
class Counter:
    """The part of a binary file that a multipart body uses."""

    file: BinaryIO
    progress: Progress
    sent: int = 0

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.sent += len(data)
        self.progress(self.sent)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self.sent = 0
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


def counted(file: BinaryIO, progress: Progress) -> BinaryIO:
    return cast(BinaryIO, Counter(file, progress))
