"""Members of a zip. Its directory is a claim: what counts is what is unpacked."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from atom.skills.bundle.collecting import Collector
from atom.skills.errors import ArchiveBrokenError, ArchiveRefusedError, BundleTooLargeError

CHUNK = 64 * 1024
ENCRYPTED = 0x1 | 0x40 | 0x2000  # the classic cipher, the strong one, and a masked directory
UTF8_NAME = 0x800
UNIX = 3
LOCAL_HEADER = 30
DIRECTORY_ENTRY = b"PK\x01\x02"
MOST_ENTRIES = 20_000  # of a directory that is read at all: `zipfile` reads it whole before anything can be counted
UNICODE_NAME = 0x7075
MOST_COMMENT = 200
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, OverflowError, RuntimeError, struct.error)


def collect(data: bytes, into: Collector, within: str = "") -> None:
    """Every member of the zip in `data` whose name begins with `within`, which is taken off. Raises BundleError."""
    with _opened(data) as archive:
        _check_layout(archive)
        for info in archive.infolist():
            name = _name(info)
            if name.startswith(within) and (name != within or not within):
                _collect_one(archive, info, into, within)


def names(data: bytes) -> tuple[list[str], str]:
    """What the members are called, folders left out, and the zip's comment. Raises BundleError."""
    with _opened(data) as archive:
        found = [name for info in archive.infolist() if not (name := _name(info)).endswith("/")]
        return found, archive.comment[:MOST_COMMENT].decode("ascii", "replace")


def _opened(data: bytes) -> zipfile.ZipFile:
    if data.count(DIRECTORY_ENTRY) > MOST_ENTRIES:
        raise BundleTooLargeError(
            f"The zip names more than {MOST_ENTRIES} members.", problem="too_many_files", fix="Pack only the skill."
        )
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except BROKEN as error:
        raise _broken(f"The zip's directory cannot be read ({error}).") from error


def _collect_one(archive: zipfile.ZipFile, info: zipfile.ZipInfo, into: Collector, within: str) -> None:
    name = _name(info).removeprefix(within)
    _check_type(info, name)
    if name.endswith("/"):
        if info.file_size or info.compress_size:
            raise _refused("A folder with content.", "folder_with_content", name)
        into.folder(name)
        return
    executable = info.create_system == UNIX and bool((info.external_attr >> 16) & stat.S_IXUSR)
    into.file(name, _chunks(archive, info, name), executable=executable)


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    read = 0
    try:
        with archive.open(info) as member:
            while chunk := member.read(CHUNK):
                read += len(chunk)
                yield chunk
    except BROKEN as error:
        raise _broken(f"The member cannot be unpacked ({error}).", name) from error
    if read != info.file_size:
        raise _broken(f"The directory says {info.file_size} bytes, and there are {read}.", name, problem="wrong_size")


def _name(info: zipfile.ZipInfo) -> str:
    """As it is written, before `zipfile` cuts it at a NUL. UTF-8 that is not marked as such (macOS) is recognised."""
    name = info.orig_filename if info.flag_bits & UTF8_NAME else _recoded(info.orig_filename)
    if _extra_fields(info.extra).get(UNICODE_NAME, b"")[5:] not in {b"", name.encode("utf-8", "replace")}:
        raise _refused("The member has two names that differ.", "two_names", name)
    return name


def _recoded(name: str) -> str:
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name  # it is in the code page, and reads as that


def _extra_fields(extra: bytes) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    while len(extra) >= 4:
        size = int.from_bytes(extra[2:4], "little")
        fields[int.from_bytes(extra[:2], "little")] = extra[4 : 4 + size]
        extra = extra[4 + size :]
    return fields


def _check_type(info: zipfile.ZipInfo, name: str) -> None:
    if info.flag_bits & ENCRYPTED:
        raise _refused(
            "The member is encrypted: nobody can review it.", "encrypted", name, "Pack it without a password."
        )
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise _refused("A symbolic link.", "symlink", name, "Put the file itself into the bundle.")
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise _refused("A device, pipe or socket.", "special_file", name, "Leave it out.")
    if kind == stat.S_IFDIR and not name.endswith("/"):
        raise _refused("A folder with content.", "folder_with_content", name)
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise _refused(
            f"The member is packed with method {info.compress_type}; 'stored' and 'deflate' are read.",
            "method",
            name,
            "Pack it again with deflate.",
        )


def _check_layout(archive: zipfile.ZipFile) -> None:
    """Members lie one behind the other from the start: none shares bytes with another, none comes before the first."""
    end = 0
    for number, info in enumerate(sorted(archive.infolist(), key=lambda one: one.header_offset)):
        if number == 0 and info.header_offset != 0:
            raise _refused("There is data before the first member: it is another file as well.", "leading_data", "")
        if info.header_offset < end:
            raise _refused("The member shares bytes with another (a zip bomb).", "overlap", info.orig_filename)
        end = info.header_offset + LOCAL_HEADER + info.compress_size


def _broken(message: str, name: str = "", *, problem: str = "broken") -> ArchiveBrokenError:
    return ArchiveBrokenError(message, problem=problem, fix="Pack it again.", member=name)


def _refused(message: str, problem: str, name: str, fix: str = "Pack the folder again.") -> ArchiveRefusedError:
    return ArchiveRefusedError(message, problem=problem, fix=fix, member=name)
