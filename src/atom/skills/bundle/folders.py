"""Members of a folder, read so that no link, also one made meanwhile, leads out of it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from atom.skills.bundle.collecting import Collector, too_many
from atom.skills.bundle.names import is_left_out
from atom.skills.errors import ArchiveRefusedError, BundleError

CHUNK = 64 * 1024
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def collect(folder: Path, into: Collector) -> None:
    """Every file under `folder`, in the order of names. Raises BundleError."""
    try:
        root = os.open(folder, FOLDER & ~os.O_NOFOLLOW)  # the folder itself may be named through a link
    except OSError as error:
        raise _unreadable("", error) from error
    try:
        _walk(root, "", into)
    finally:
        os.close(root)


def _walk(handle: int, prefix: str, into: Collector) -> None:
    most = into.limits.members
    try:
        with os.scandir(handle) as entries:
            found = sorted((one.name, one.is_dir(follow_symlinks=False)) for one in islice(entries, most + 1))
    except OSError as error:
        raise _unreadable(prefix, error) from error
    if len(found) > most:
        raise too_many(f"more than {most} members", prefix or ".")
    for name, is_folder in found:
        path = f"{prefix}{name}"
        if is_left_out(f"{path}/-" if is_folder else path):
            into.left_out.append(path)
        elif is_folder:
            into.folder(f"{path}/")  # its depth is checked here, before it is entered
            with _opened(name, FOLDER, handle, path) as inner:
                _walk(inner, f"{path}/", into)
        else:
            _file(name, handle, path, into)


def _file(name: str, handle: int, path: str, into: Collector) -> None:
    kind = stat.S_IFMT(_stat(name, handle, path))
    if kind == stat.S_IFLNK:
        raise ArchiveRefusedError(
            "A symbolic link.", problem="symlink", fix="Put the file itself into the folder.", member=path
        )
    if kind != stat.S_IFREG:
        raise ArchiveRefusedError("A device, pipe or socket.", problem="special_file", fix="Leave it out.", member=path)
    with _opened(name, FILE, handle, path) as opened:
        mode = os.fstat(opened).st_mode
        if not stat.S_ISREG(mode):
            raise ArchiveRefusedError(
                "It changed while it was read.", problem="special_file", fix="Try again.", member=path
            )
        into.file(path, _chunks(opened, path), executable=bool(mode & stat.S_IXUSR))


def _chunks(number: int, path: str) -> Iterator[bytes]:
    try:
        while chunk := os.read(number, CHUNK):
            yield chunk
    except OSError as error:
        raise _unreadable(path, error) from error


def _stat(name: str, handle: int, path: str) -> int:
    try:
        return os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
    except OSError as error:
        raise _unreadable(path, error) from error


@contextmanager
def _opened(name: str, flags: int, handle: int, path: str) -> Iterator[int]:
    try:
        number = os.open(name, flags, dir_fd=handle)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        yield number
    finally:
        os.close(number)


def _unreadable(path: str, error: OSError) -> BundleError:
    return BundleError(
        f"It cannot be read ({error.strerror}).", problem="unreadable", fix="Check its permissions.", member=path
    )
