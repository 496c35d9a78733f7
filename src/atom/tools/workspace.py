"""Files inside one agent's workspace, and none outside of it.

Every path is walked component by component from the workspace's own descriptor, without following a link. So a path
that is swapped for a link between the check and the use leads nowhere: there is no check, only the walk.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from atom.errors import AtomError, UnavailableError
from atom.tools.errors import OutsideWorkspaceError, ToolError

MAX_PATH_CHARS = 1024
MAX_NAME_BYTES = 255
MAX_DEPTH = 32
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_HANG = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO without a writer must not block


class FileMissingError(ToolError):
    code = "file_missing"


class NotAFileError(ToolError):
    """A folder, link, device, FIFO or socket stands where a regular file is needed."""

    code = "not_a_file"


class FileTooBigError(ToolError):
    code = "file_too_big"


class WorkspaceUnavailableError(UnavailableError):
    """The workspace itself fails: not there, disk full, read-only, input/output error. The model cannot correct it."""

    code = "workspace_unavailable"


def split_path(path: str) -> tuple[str, ...]:
    """The components of a relative path. Raises for every path that could mean something outside the workspace."""
    if len(path) > MAX_PATH_CHARS:
        raise ToolError(f"path: is longer than {MAX_PATH_CHARS} characters.", hint="Use a shorter path.")
    if any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) <= 0xDFFF for char in path):
        raise OutsideWorkspaceError("path: contains a control character.", hint="Give a plain file name.")
    if path.startswith("/"):
        raise OutsideWorkspaceError(
            f"path: {path!r} is absolute.", hint="Give a path relative to the workspace, as list_files shows it."
        )
    parts = tuple(part for part in path.split("/") if part not in {"", "."})
    if ".." in parts:
        raise OutsideWorkspaceError(f"path: {path!r} contains '..'.", hint="Paths may not leave the workspace.")
    if not parts:
        raise NotAFileError("path: names the workspace itself, not a file in it.", hint="list_files shows the files.")
    if len(parts) > MAX_DEPTH or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise ToolError(
            f"path: more than {MAX_DEPTH} folders deep, or a name of more than {MAX_NAME_BYTES} bytes.",
            hint="Use a shorter path.",
        )
    return parts


def plain_path(path: str) -> str:
    """One spelling for one file: `./a//b` is `a/b`."""
    return "/".join(split_path(path))


@dataclass(frozen=True, slots=True)
class Workspace:
    """One agent's folder. All methods block: call them in a thread."""

    root: Path

    def read(self, path: str, *, limit: int) -> bytes:
        """The bytes of a regular file of at most `limit` bytes."""
        with self._at(path) as (folder, name), os.fdopen(_open_regular(name, folder, path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(limit + 1) if size <= limit else b""
        size = max(size, len(content))  # it may have grown
        if size > limit:
            raise FileTooBigError(
                f"path: {path!r} has {size} bytes; at most {limit} are read.", hint="search_text finds lines in it."
            )
        return content

    @contextmanager
    def opened(self, path: str) -> Iterator[BufferedReader]:
        """A regular file, open for reading from its beginning."""
        with self._at(path) as (folder, name):
            descriptor = _open_regular(name, folder, path)
        with os.fdopen(descriptor, "rb") as file:
            yield file

    def write(self, path: str, content: bytes) -> bool:
        """Put `content` at `path`, wholly or not at all, making folders as needed. True when the file is new."""
        with self._at(path, create=True) as (folder, name):
            before = _status(name, folder)
            if before is not None:
                _require_regular(before, path)
            temporary = f".atom-write-{secrets.token_hex(8)}.tmp"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o666, dir_fd=folder)
            try:
                _fill(descriptor, content, before)
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)
        return before is None

    def adopt(self, path: str, source: Path) -> None:
        """Move the file `source`, of the same file system, to `path`, in one step, making folders as needed."""
        with self._at(path, create=True) as (folder, name):
            before = _status(name, folder)
            if before is not None:
                _require_regular(before, path)
            os.replace(source, name, dst_dir_fd=folder)

    def delete(self, path: str) -> int:
        """Remove one regular file for good. Its size in bytes."""
        with self._at(path) as (folder, name):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            _require_regular(status, path)
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
        return status.st_size

    @contextmanager
    def folder(self, parts: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
        """A descriptor of the folder `parts`, reached without following a link. Raises OSError."""
        descriptor = self._open_root()
        try:
            for part in parts:
                below = _enter(part, descriptor, create=create)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _at(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        *parents, name = split_path(path)
        try:
            with self.folder(tuple(parents), create=create) as descriptor:
                yield descriptor, name
        except OSError as error:
            raise explain(error, path) from error

    def _open_root(self) -> int:
        try:
            return os.open(self.root, _FOLDER)
        except OSError as error:
            raise WorkspaceUnavailableError(
                f"The workspace of this agent cannot be opened: {error.strerror}.",
                hint="An operator must make its folder readable for Atom.",
            ) from error


def _enter(part: str, folder: int, *, create: bool) -> int:
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    except NotADirectoryError:  # Linux says so for a link too; tell them apart for the message
        if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise
    try:
        os.mkdir(part, 0o777, dir_fd=folder)
        os.fsync(folder)
    except FileExistsError:  # somebody else made it in between: the open decides what it is
        pass
    return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def _open_regular(name: str, folder: int, path: str) -> int:
    _require_regular(os.stat(name, dir_fd=folder, follow_symlinks=False), path)  # opening a device may already act
    descriptor = os.open(name, os.O_RDONLY | _NO_HANG, dir_fd=folder)
    try:
        _require_regular(os.fstat(descriptor), path)  # what was opened, whatever stood there a moment ago
    except ToolError:
        os.close(descriptor)
        raise
    return descriptor


def _fill(descriptor: int, content: bytes, before: os.stat_result | None) -> None:
    with os.fdopen(descriptor, "wb") as file:
        if before is not None:
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & 0o777)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _status(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _require_regular(status: os.stat_result, path: str) -> None:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return
    if stat.S_ISLNK(mode):
        raise OutsideWorkspaceError(f"path: {path!r} is a symbolic link.", hint="Links are not followed.")
    kind = "a folder" if stat.S_ISDIR(mode) else "a device, FIFO or socket"
    raise NotAFileError(f"path: {path!r} is {kind}, not a file.", hint="list_files shows the files.")


def explain(error: OSError, path: str) -> AtomError:
    """What an error of the operating system means to the model, or to the operator."""
    match error.errno:
        case errno.ENOENT:
            return FileMissingError(f"path: there is no file {path!r}.", hint="list_files shows the files.")
        case errno.ELOOP:
            return OutsideWorkspaceError(
                f"path: {path!r} leads through a symbolic link.", hint="Links are not followed."
            )
        case errno.ENOTDIR:
            return NotAFileError(f"path: a part of {path!r} is not a folder.", hint="list_files shows the files.")
        case errno.EISDIR | errno.ENXIO:
            return NotAFileError(f"path: {path!r} is not a file.", hint="list_files shows the files.")
        case errno.EACCES | errno.EPERM:
            return ToolError(f"path: Atom has no permission for {path!r}.", hint="Use another file.")
        case errno.ENAMETOOLONG | errno.EINVAL | errno.EILSEQ:
            return ToolError(f"path: the file system does not take {path!r}.", hint="Use a shorter, plainer name.")
    return WorkspaceUnavailableError(
        f"The workspace cannot be used now: {error.strerror or type(error).__name__}.",
        hint="An operator must look at its disk.",
    )
