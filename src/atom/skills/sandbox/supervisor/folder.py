"""The folder a program works in: filled before it starts, its output taken after it ended. Nothing in it is trusted."""

import os
import stat

from atom.skills.sandbox.supervisor import linux

OUTPUT = "output"
DEPTH = 8
NAME_BYTES = 200  # of a path below the output folder
FILES_SEEN = 20_000
READ = 1 << 20


class Collected:
    """What was taken of an output folder: at most `most` files, of `most_bytes` together."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.files: list[tuple[str, bytes]] = []
        self.refused: list[tuple[str, str]] = []
        self.bytes = 0


def fill(work: int, files: dict[str, bytes]) -> None:
    """`work` is an open folder that is empty. Names were checked by whoever sent them; modes are always the same."""
    for name in (OUTPUT, "tmp"):
        os.mkdir(name, 0o700, dir_fd=work)
    made = {"", OUTPUT, "tmp"}
    for name, body in files.items():
        parts = name.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent not in made:
                os.mkdir(parent, 0o700, dir_fd=work)
                made.add(parent)
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=work)
        try:
            write(file, body)
        finally:
            os.close(file)


def collect(work: int, *, most: int, most_bytes: int) -> Collected:
    """Plain files under the output folder; all else is refused with its reason. The program has ended."""
    found = Collected(most, most_bytes)
    try:
        top = inside(work, OUTPUT, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        found.refused.append((OUTPUT, f"no folder: {error.strerror}"))
        return found
    waiting = [(top, "", 0)]
    while waiting:
        folder, prefix, depth = waiting.pop()
        try:
            if len(found.refused) <= found.most + 1:  # the last of them says that there are more
                _folder(folder, prefix, depth, found, waiting)
        finally:
            os.close(folder)
    return found


def inside(folder: int, name: str, flags: int) -> int:
    """Open `name`, one component, without following anything."""
    try:
        return linux.open_inside(folder, name, flags)
    except OSError as error:
        if error.errno != 38:  # ENOSYS: a kernel before 5.6, or a filter around us
            raise
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


def size(path: str) -> tuple[int, int]:
    """Bytes on disk and entries under a folder; counting stops where there are very many."""
    total = entries = 0
    waiting = [path]
    while waiting and entries < FILES_SEEN:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    entries += 1
                    status = entry.stat(follow_symlinks=False)
                    total += status.st_blocks * 512
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(entry.path)
        except OSError:
            continue  # it changes while it is counted
    return total, entries


def remove(path: str) -> None:
    """Remove a folder whose depth and modes a program chose: its folders are lifted to the top one by one."""
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    lifted = 0
    mark = os.urandom(8).hex()  # nothing in there can have such a name
    try:
        while names := os.listdir(top):
            for name in names:
                if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=top)
                    continue
                lifted = _flatten(top, name, mark, lifted)
    finally:
        os.close(top)
    os.rmdir(path)


def write(file: int, body: bytes) -> None:
    view = memoryview(body)
    while view:
        view = view[os.write(file, view) :]


def _flatten(top: int, name: str, mark: str, lifted: int) -> int:
    os.chmod(name, 0o700, dir_fd=top)
    folder = inside(top, name, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for child in os.listdir(folder):
            if not stat.S_ISDIR(os.stat(child, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(child, dir_fd=folder)
                continue
            os.chmod(child, 0o700, dir_fd=folder)  # a folder that is moved must be writable: its `..` changes
            lifted += 1
            os.rename(child, f"{mark}-{lifted}", src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)
    return lifted


def _folder(folder: int, prefix: str, depth: int, found: Collected, waiting: list[tuple[int, str, int]]) -> None:
    for number, name in enumerate(sorted(os.listdir(folder))):
        path = prefix + name
        if number > found.most or len(found.refused) > found.most:
            found.refused.append((prefix, "more entries than are looked at"))
            return
        why = _why_not(folder, name, depth, found) if len(os.fsencode(path)) <= NAME_BYTES else "its name"
        if why == "folder":
            waiting.append((inside(folder, name, os.O_RDONLY | os.O_DIRECTORY), path + "/", depth + 1))
        elif why:
            found.refused.append((path.encode("utf-8", "replace").decode(), why))
        else:
            _take(folder, name, path, found)


def _why_not(folder: int, name: str, depth: int, found: Collected) -> str:
    """Why an entry is not taken; empty when it is, `folder` when it is looked into."""
    if not name.isprintable() or "\\" in name:
        return "its name"
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if stat.S_ISDIR(status.st_mode):
        return "folder" if depth < DEPTH else "too deep"
    if not stat.S_ISREG(status.st_mode):
        return "not a file"
    if status.st_nlink != 1:
        return "a hard link"
    if len(found.files) >= found.most:
        return f"more than {found.most} files"
    if found.bytes + status.st_size > found.most_bytes:
        return f"more than {found.most_bytes} bytes"
    return ""


def _take(folder: int, name: str, path: str, found: Collected) -> None:
    file = inside(folder, name, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            found.refused.append((path, "it changed"))
            return
        parts = []
        left = found.most_bytes - found.bytes
        while left > 0 and (part := os.read(file, min(READ, left))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(file)
    body = b"".join(parts)
    found.files.append((path, body))
    found.bytes += len(body)
