"""Members on their way into a bundle: every limit is held here, whatever they come from."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from atom.skills.bundle.limits import Limits
from atom.skills.bundle.models import Member
from atom.skills.bundle.names import folded, is_left_out, normal
from atom.skills.errors import ArchiveRefusedError, BundleTooLargeError, shown

FEW = 20  # names a report can show


@dataclass(slots=True)
class Collector:
    """Takes members one by one, and refuses the first that breaks a rule. `packed` is the archive's size in bytes."""

    limits: Limits
    packed: int | None = None
    files: dict[str, Member] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    _spelled: dict[str, str] = field(default_factory=dict)
    _folders: set[str] = field(default_factory=set)
    _taken: set[str] = field(default_factory=set)
    _members: int = 0
    _unpacked: int = 0

    def folder(self, name: str) -> None:
        """A folder of its own; it is not kept, but counts and must not collide."""
        path = normal(name, self.limits)
        self._count(name)
        if path:
            self._enter(path.split("/"), name)

    def file(self, name: str, chunks: Iterable[bytes], *, executable: bool) -> None:
        """One file. `chunks` is read only as far as the limits allow."""
        path = normal(name, self.limits)
        if not path or name.endswith("/"):
            raise ArchiveRefusedError(
                "A file without a name.", problem="empty_name", fix="Pack the folder again.", member=name
            )
        self._count(name)
        self._enter(path.split("/")[:-1], name)
        self._spell(path, name)
        if path in self._taken or path in self._folders:
            raise _twice(name)
        self._taken.add(path)
        data = self._read(name, chunks)
        if is_left_out(path):
            self.left_out += [path] if len(self.left_out) < FEW else []
            return
        if len(self.files) >= self.limits.files:
            raise too_many(f"more than {self.limits.files} files", name)
        self.files[path] = Member(data, executable)

    def _count(self, name: str) -> None:
        self._members += 1
        if self._members > self.limits.members:
            raise too_many(f"more than {self.limits.members} members", name)

    def _read(self, name: str, chunks: Iterable[bytes]) -> bytes:
        data = bytearray()
        for chunk in chunks:
            data += chunk
            self._unpacked += len(chunk)
            check_size(self._unpacked, self.packed, self.limits, name)
        return bytes(data)

    def _enter(self, folders: list[str], name: str) -> None:
        for end in range(1, len(folders) + 1):
            path = "/".join(folders[:end])
            if path not in self._folders:
                self._spell(path, name)
                if path in self._taken:
                    raise _twice(name)
                self._folders.add(path)

    def _spell(self, path: str, name: str) -> None:
        other = self._spelled.setdefault(folded(path), path)
        if other != path:
            raise ArchiveRefusedError(
                f"The name differs from {shown(other)} only in case or form of Unicode: one would replace the other.",
                problem="case_collision",
                fix="Rename one of them.",
                member=name,
            )


def _twice(name: str) -> ArchiveRefusedError:
    return ArchiveRefusedError(
        "The name is there twice: which one counts is not certain.",
        problem="duplicate_name",
        fix="Pack the folder again.",
        member=name,
    )


def too_many(what: str, name: str) -> BundleTooLargeError:
    """`what` is as `more than 500 files`."""
    return BundleTooLargeError(
        f"The bundle has {what}.",
        problem="too_many_files",
        fix="Leave out what the skill does not need, such as node_modules.",
        member=name,
    )


def check_size(unpacked: int, packed: int | None, limits: Limits, name: str) -> None:
    """Raises BundleTooLargeError past the size, or past the ratio to the `packed` bytes of the archive."""
    if unpacked > limits.unpacked_bytes:
        raise BundleTooLargeError(
            f"The bundle is more than {limits.unpacked_bytes} bytes unpacked.",
            problem="too_many_bytes",
            fix="Leave out what the skill does not need, or let it fetch large data.",
            member=name,
        )
    if packed is not None and unpacked > max(limits.ratio_from, packed * limits.ratio):
        raise BundleTooLargeError(
            f"The archive unpacks to more than {limits.ratio} times its size.",
            problem="ratio",
            fix="Leave out the file that is packed so tightly.",
            member=name,
        )
