"""Members of a tar.

Blocks are walked here, and only a header is parsed by `tarfile`: its own walk recurses for each long name and, before
3.13.6, goes round forever on a negative size.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from atom.skills.bundle.collecting import Collector, too_many
from atom.skills.errors import ArchiveBrokenError, ArchiveRefusedError

BLOCK = 512
CHUNK = 64 * 1024
LONGEST_NAME = 64 * 1024
MOST_NAMES = 20_000
MOST_COMMENT = 200
PAX = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}
REFUSED = {
    tarfile.SYMTYPE: ("A symbolic link.", "symlink", "Put the file itself into the bundle."),
    tarfile.LNKTYPE: ("A hard link.", "hardlink", "Put the file itself into the bundle (tar --hard-dereference)."),
    tarfile.CHRTYPE: ("A device.", "special_file", "Leave it out."),
    tarfile.BLKTYPE: ("A device.", "special_file", "Leave it out."),
    tarfile.FIFOTYPE: ("A pipe.", "special_file", "Leave it out."),
    tarfile.GNUTYPE_SPARSE: ("A file with holes.", "sparse", "Pack it without --sparse."),
}


@dataclass(slots=True)
class _Said:
    """What headers before a member say of it."""

    name: str | None = None
    size: int | None = None
    sparse: bool = False


@dataclass(slots=True)
class _Walk:
    data: bytes
    at: int = 0
    comment: str = ""
    said: _Said = field(default_factory=_Said)

    def header(self) -> tarfile.TarInfo | None:
        """The next one; None at the end."""
        block = self.data[self.at : self.at + BLOCK]
        if not block or not block.strip(b"\0"):
            return None
        try:
            found = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.TarError, ValueError) as error:
            raise _broken(f"The header at byte {self.at} cannot be read ({error}).") from error
        self.at += BLOCK
        return found

    def content(self, name: str, size: int) -> memoryview:
        """The bytes of a member; the walk goes on behind them."""
        if size < 0 or size > len(self.data) - self.at:
            raise _broken(
                f"The header says {size} bytes, and {len(self.data) - self.at} are there.", name, "wrong_size"
            )
        start = self.at
        self.at = min(len(self.data), start + (size + BLOCK - 1) // BLOCK * BLOCK)
        return memoryview(self.data)[start : start + size]


def is_tar(data: bytes) -> bool:
    """Whether it begins with a header whose checksum is right."""
    try:
        tarfile.TarInfo.frombuf(data[:BLOCK], "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def collect(data: bytes, into: Collector, within: str = "") -> None:
    """Every member of the tar in `data` whose name begins with `within`, which is taken off. Raises BundleError."""
    for walk, header, name in _members(data):
        if name.startswith(within) and f"{name.rstrip('/')}/" != within:
            _member(walk, header, name.removeprefix(within), into)
        else:
            _skip(walk, header, name)


def names(data: bytes) -> tuple[list[str], str]:
    """What the members are called, folders left out, and the comment on all of them. Raises BundleError."""
    found: list[str] = []
    comment = ""
    for walk, header, name in _members(data):
        if len(found) >= MOST_NAMES:
            raise too_many(f"more than {MOST_NAMES} members", name)
        found += [] if header.type == tarfile.DIRTYPE else [name]
        comment = walk.comment
        _skip(walk, header, name)
    return found, comment


def _members(data: bytes) -> Iterator[tuple[_Walk, tarfile.TarInfo, str]]:
    """Each with its name; whoever gets it moves the walk behind its content."""
    walk = _Walk(data)
    while header := walk.header():  # each turn takes a block at least
        if header.type in PAX:
            _pax(walk, header)
        elif header.type == tarfile.XGLTYPE:
            _global(walk, header)
        elif header.type == tarfile.GNUTYPE_LONGNAME:
            walk.said.name = _text(_meta(walk, header)).rstrip("\0")
        elif header.type == tarfile.GNUTYPE_LONGLINK:
            _meta(walk, header)  # the link that follows is refused
        else:
            yield walk, header, header.name if walk.said.name is None else walk.said.name
            walk.said = _Said()


def _skip(walk: _Walk, header: tarfile.TarInfo, name: str) -> None:
    """Over a member that nobody looks into; links and devices have no content."""
    if header.type in REFUSED and header.type != tarfile.GNUTYPE_SPARSE:
        return
    size = header.size if walk.said.size is None else walk.said.size
    walk.content(name, max(size, 0) if header.type == tarfile.DIRTYPE else size)


def _member(walk: _Walk, header: tarfile.TarInfo, name: str, into: Collector) -> None:
    if header.type in REFUSED:
        message, problem, fix = REFUSED[header.type]
        raise ArchiveRefusedError(message, problem=problem, fix=fix, member=name)
    if walk.said.sparse:
        raise ArchiveRefusedError("A file with holes.", problem="sparse", fix="Pack it without --sparse.", member=name)
    if header.type == tarfile.DIRTYPE:
        walk.content(name, header.size if header.size > 0 else 0)
        into.folder(name)
        return
    if header.type not in {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}:
        raise ArchiveRefusedError(
            f"A member of type {header.type!r}.", problem="special_file", fix="Leave it out.", member=name
        )
    content = walk.content(name, header.size if walk.said.size is None else walk.said.size)
    into.file(name, _chunks(content), executable=bool(header.mode & 0o100))


def _chunks(content: memoryview) -> Iterator[bytes]:
    for start in range(0, len(content), CHUNK):
        yield bytes(content[start : start + CHUNK])


def _meta(walk: _Walk, header: tarfile.TarInfo) -> bytes:
    if header.size > LONGEST_NAME:
        raise _broken("A header of more than 64 KB.", header.name, "long_name")
    return bytes(walk.content(header.name, header.size))


def _pax(walk: _Walk, header: tarfile.TarInfo) -> None:
    for key, value in _records(_meta(walk, header)):
        if key == b"path":
            walk.said.name = _text(value)
        elif key == b"size":
            walk.said.size = int(value) if value.isdigit() and len(value) < 20 else -1
        elif key.startswith(b"GNU.sparse."):
            walk.said.sparse = True


def _global(walk: _Walk, header: tarfile.TarInfo) -> None:
    """What is said of all members: a comment (git archive writes one), but no name and no size."""
    records = dict(_records(_meta(walk, header)))
    walk.comment = records.get(b"comment", b"")[:MOST_COMMENT].decode("ascii", "replace")
    if records.keys() & {b"path", b"size", b"linkpath"}:
        raise ArchiveRefusedError(
            "One name or size is given for all members.", problem="global_name", fix="Pack the folder again."
        )


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The `length key=value` lines of a pax header."""
    while data.strip(b"\0"):
        length, _, _ = data[:20].partition(b" ")
        end = int(length) if length.isdigit() else 0
        key, equals, value = data[len(length) + 1 : end - 1].partition(b"=")
        if not equals or end > len(data) or data[end - 1 : end] != b"\n":
            raise _broken("A pax header that is not whole.")
        yield key, value
        data = data[end:]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _broken(message: str, name: str = "", problem: str = "broken") -> ArchiveBrokenError:
    return ArchiveBrokenError(message, problem=problem, fix="Pack it again.", member=name)
