"""Nothing outside the workspace is read, written or deleted, whatever the path and whoever races."""

import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.errors import AtomError
from atom.tools.errors import OutsideWorkspaceError, ToolError
from atom.tools.workspace import (
    FileMissingError,
    FileTooBigError,
    NotAFileError,
    Workspace,
    WorkspaceUnavailableError,
    split_path,
)
from atom.tools.workspace_walk import matches, walk

LIMIT = 1000
SECRET = b"outside, not for agents"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with a secret beside it, and links that lead to it."""
    root = tmp_path / "space"
    (root / "docs").mkdir(parents=True)
    (root / "docs" / "guide.md").write_bytes(b"one\ntwo\n")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(SECRET)
    (root / "file-link").symlink_to(tmp_path / "secret" / "key")
    (root / "folder-link").symlink_to(tmp_path / "secret")
    (root / "up-link").symlink_to("..")
    (root / "inner-link").symlink_to("docs/guide.md")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    return root


OUTSIDE = [
    "../secret/key", "docs/../../secret/key", "docs/..", "..", "a/../b", "/etc/passwd", "//etc/passwd", "file-link",
    "folder-link/key", "up-link/secret/key", "inner-link", "dangling", "docs/guide.md\0.txt", "a\nb", "\x1b[2J",
    "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_path_that_leads_out_is_refused_by_every_operation(root: Path, path: str) -> None:
    space = Workspace(root)
    operations: list[Callable[[], object]] = [
        lambda: space.read(path, limit=LIMIT),
        lambda: space.write(path, b"x"),
        lambda: space.delete(path),
    ]
    for operation in operations:
        with pytest.raises(OutsideWorkspaceError):
            operation()
    assert (root.parent / "secret" / "key").read_bytes() == SECRET
    assert not (root.parent / "nowhere").exists()


@given(st.lists(st.sampled_from(["..", ".", "", "a", "secret", "key", "folder-link", "up-link", "/"]), max_size=6))
def test_no_combination_of_components_reads_the_secret(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "space"
        root.mkdir()
        (Path(folder) / "secret").mkdir()
        (Path(folder) / "secret" / "key").write_bytes(SECRET)
        (root / "folder-link").symlink_to(Path(folder) / "secret")
        (root / "up-link").symlink_to("..")
        with pytest.raises(AtomError):
            Workspace(root).read("/".join(parts), limit=LIMIT)


@given(st.text(max_size=40))
def test_accepted_path_has_only_plain_components(path: str) -> None:
    try:
        parts = split_path(path)
    except ToolError:
        return
    assert parts
    assert all(part not in {"", ".", ".."} and "/" not in part and "\0" not in part for part in parts)


def test_plain_file_is_read_under_every_spelling(root: Path) -> None:
    for path in ("docs/guide.md", "./docs//guide.md", "docs/./guide.md"):
        assert Workspace(root).read(path, limit=LIMIT) == b"one\ntwo\n"


def test_workspace_that_is_itself_reached_by_a_link_works(root: Path) -> None:
    alias = root.parent / "alias"
    alias.symlink_to(root)
    assert Workspace(alias).read("docs/guide.md", limit=LIMIT) == b"one\ntwo\n"


def test_hard_link_is_an_ordinary_file(root: Path) -> None:
    os.link(root / "docs" / "guide.md", root / "same.md")
    assert Workspace(root).read("same.md", limit=LIMIT) == b"one\ntwo\n"


def test_swapped_parent_never_leads_out(root: Path) -> None:
    """One thread swaps a folder for a link to the secret, as fast as it can, while the other reads through it."""
    inside = root / "swap"
    inside.mkdir()
    (inside / "key").write_bytes(b"inside")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            inside.rename(root / "aside")
            inside.symlink_to(root.parent / "secret")
            inside.unlink()
            (root / "aside").rename(inside)

    thread = threading.Thread(target=swap)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # let the threads cut in between any two steps
    thread.start()
    outcomes: list[object] = []
    deadline = time.monotonic() + 20
    try:
        while len(outcomes) < 3000 or not {b"inside", OutsideWorkspaceError} <= set(outcomes):
            try:
                outcomes.append(Workspace(root).read("swap/key", limit=LIMIT))
            except ToolError as error:
                outcomes.append(type(error))
            assert time.monotonic() < deadline, "the race never happened"
    finally:
        stop.set()
        thread.join(timeout=10)
        sys.setswitchinterval(interval)
    assert SECRET not in outcomes


def test_device_fifo_and_socket_are_refused_unopened_and_without_waiting(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    real_open = os.open

    def recording(path: str, *rest: int, **more: int) -> int:
        opened.append(path)
        return real_open(path, *rest, **more)

    monkeypatch.setattr(os, "open", recording)
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "sock"))
        started = time.monotonic()
        for name in ("fifo", "sock"):
            for operation in (lambda n: Workspace(root).read(n, limit=LIMIT), Workspace(root).delete):
                with pytest.raises(NotAFileError):
                    operation(name)
            with pytest.raises(NotAFileError):
                Workspace(root).write(name, b"x")
        assert time.monotonic() - started < 10
    assert not {"fifo", "sock"} & set(opened)  # opening a device may already do something


def test_fifo_that_takes_the_place_of_a_checked_file_does_not_hang(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regular = (root / "docs" / "guide.md").stat()
    os.mkfifo(root / "fifo")
    real_stat = os.stat
    monkeypatch.setattr(os, "stat", lambda name, **more: regular if name == "fifo" else real_stat(name, **more))
    with pytest.raises(NotAFileError):
        Workspace(root).read("fifo", limit=LIMIT)


@pytest.mark.parametrize("path", ["docs", "docs/", ".", "", "./."])
def test_folder_is_not_a_file(root: Path, path: str) -> None:
    for operation in (lambda p: Workspace(root).read(p, limit=LIMIT), Workspace(root).delete):
        with pytest.raises(NotAFileError):
            operation(path)
    with pytest.raises(NotAFileError):
        Workspace(root).write(path, b"x")
    assert (root / "docs" / "guide.md").exists()


@pytest.mark.parametrize("path", ["a" * 256, "x/" * 40 + "y", "b" * 2000, "é" * 130])
def test_over_long_path_is_refused(root: Path, path: str) -> None:
    with pytest.raises(ToolError, match="shorter"):
        Workspace(root).write(path, b"x")


def test_missing_file_and_file_as_folder_are_told_apart(root: Path) -> None:
    with pytest.raises(FileMissingError, match=r"no\.md"):
        Workspace(root).read("no.md", limit=LIMIT)
    with pytest.raises(FileMissingError):
        Workspace(root).read("no/such/folder.md", limit=LIMIT)
    with pytest.raises(NotAFileError, match="not a folder"):
        Workspace(root).read("docs/guide.md/x", limit=LIMIT)


def test_file_over_the_limit_is_refused_with_both_sizes(root: Path) -> None:
    (root / "big").write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(FileTooBigError, match=r"1001 bytes; at most 1000"):
        Workspace(root).read("big", limit=LIMIT)
    (root / "fits").write_bytes(b"x" * LIMIT)
    assert len(Workspace(root).read("fits", limit=LIMIT)) == LIMIT


def test_write_makes_folders_and_says_whether_the_file_is_new(root: Path) -> None:
    assert Workspace(root).write("new/deep/file.txt", b"first") is True
    assert Workspace(root).write("new/deep/file.txt", b"second") is False
    assert (root / "new/deep/file.txt").read_bytes() == b"second"
    assert [path.name for path in (root / "new/deep").iterdir()] == ["file.txt"]


def test_replaced_file_keeps_its_permissions_without_special_bits(root: Path) -> None:
    target = root / "docs" / "guide.md"
    target.chmod(0o4750)
    Workspace(root).write("docs/guide.md", b"x")
    assert target.stat().st_mode & 0o7777 == 0o750


def test_failed_write_leaves_the_old_file_and_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkspaceUnavailableError, match="No space left"):
        Workspace(root).write("docs/guide.md", b"half")
    assert (root / "docs" / "guide.md").read_bytes() == b"one\ntwo\n"
    assert [path.name for path in (root / "docs").iterdir()] == ["guide.md"]


def test_reader_sees_the_old_or_the_new_file_and_never_a_part(root: Path) -> None:
    contents = [bytes([65 + turn]) * 5000 for turn in range(10)]
    Workspace(root).write("both", contents[0])
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn = (turn + 1) % 10
            Workspace(root).write("both", contents[turn])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = {Workspace(root).read("both", limit=10_000) for _ in range(300)}
    finally:
        stop.set()
        thread.join(timeout=10)
    assert seen <= set(contents)


def test_missing_workspace_is_the_operators_business(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceUnavailableError, match="cannot be opened"):
        Workspace(tmp_path / "none").read("x", limit=LIMIT)
    with pytest.raises(WorkspaceUnavailableError):
        walk(Workspace(tmp_path / "none"))


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in [*OUTSIDE, "docs/guide.md", "docs", "no", "new/file"]:
        for operation in (lambda p: Workspace(root).read(p, limit=LIMIT), lambda p: Workspace(root).write(p, b"x")):
            try:
                operation(path)
            except ToolError:
                continue
    walk(Workspace(root))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_walk_follows_no_link_and_counts_what_it_leaves_out(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "line\nbreak").write_bytes(b"")
    (root / os.fsdecode(b"bad-\xff")).touch()
    found = walk(Workspace(root))
    assert [(file.path, file.size) for file in found.files] == [("docs/guide.md", 8)]
    assert (found.skipped, found.complete) == (8, True)


def test_walk_stops_at_its_bound_and_says_so(root: Path) -> None:
    for number in range(50):
        (root / f"{number}.txt").touch()
    found = walk(Workspace(root), limit=20)
    assert len(found.files) <= 20
    assert not found.complete


def test_walk_of_a_bottomless_tree_ends(root: Path) -> None:
    deep = root
    for _ in range(60):
        deep = deep / "d"
    deep.mkdir(parents=True)
    assert not walk(Workspace(root)).complete


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.md", "a.md", True),
        ("*.md", "docs/deep/a.md", True),
        ("docs/*.md", "docs/a.md", True),
        ("docs/*.md", "docs/deep/a.md", False),
        ("docs/*.md", "other/docs/a.md", False),
        ("docs/**", "docs/deep/a.md", True),
        ("docs/**/*.md", "docs/a.md", True),
        ("docs/**/*.md", "docs/x/y/a.md", True),
        ("**/deep/*", "docs/deep/a.md", True),
        ("./docs/*.md", "docs/a.md", True),
        ("/docs/*.md", "docs/a.md", True),
        ("*.md", "a.MD", False),
        ("a?.md", "ab.md", True),
        ("[ab].md", "b.md", True),
        ("*", "docs/a.md", True),
        ("docs", "docs/a.md", False),
        ("**", "docs/a.md", True),
        ("docs/**/x/**/a.md", "docs/1/x/2/3/a.md", True),
        ("docs/**/x/**/a.md", "docs/1/2/3/a.md", False),
    ],
)
def test_glob_pattern(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


def test_hostile_pattern_costs_no_time() -> None:
    started = time.monotonic()
    for pattern in ("**/" * 30 + "x", "*a" * 200 + "b", "/".join(["*a*a*a*a*a*b"] * 30)):
        matches(pattern, "/".join(["a" * 200] * 31))
    assert time.monotonic() - started < 10
