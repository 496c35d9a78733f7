"""What is read of a workspace: regular text files inside it, within bounds."""

import os
from pathlib import Path

from atom.retrieval.corpus import CorpusLimits, read_corpus


def paths(workspace: Path, limits: CorpusLimits | None = None, below: str | None = None) -> list[str]:
    return [text.path for text in read_corpus(workspace, limits or CorpusLimits(), below).texts]


def put(workspace: Path, name: str, content: bytes = b"text\n") -> None:
    path = workspace / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_text_files_are_read_in_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.txt", "a/b.py"):
        put(tmp_path, name)
    assert paths(tmp_path) == ["b.md", "a/b.py", "a/z.txt"]


def test_nothing_is_read_through_a_link(tmp_path: Path) -> None:
    put(tmp_path, "outside/secret.md")
    workspace = tmp_path / "workspace"
    put(workspace, "a.md")
    (workspace / "file.md").symlink_to(tmp_path / "outside/secret.md")
    (workspace / "folder").symlink_to(tmp_path / "outside")
    assert paths(workspace) == ["a.md"]
    assert paths(workspace, below="folder") == []


def test_a_workspace_that_is_itself_a_link_is_read(tmp_path: Path) -> None:
    put(tmp_path, "real/a.md")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert paths(tmp_path / "link") == ["a.md"]


def test_hidden_binary_and_special_files_are_left_out(tmp_path: Path) -> None:
    for name, content in {".env": b"KEY=1", ".git/config": b"x", "a.png": b"\x89PNG\0", "a.md": b"ok"}.items():
        put(tmp_path, name, content)
    os.mkfifo(tmp_path / "pipe")
    put(tmp_path, "new\nline.md")
    corpus = read_corpus(tmp_path, CorpusLimits())
    assert ([text.path for text in corpus.texts], corpus.skipped, corpus.whole) == (["a.md"], 2, True)


def test_a_file_over_the_limit_is_skipped_and_too_many_files_are_said(tmp_path: Path) -> None:
    put(tmp_path, "a.md", b"x" * 11)
    put(tmp_path, "b.md")
    assert paths(tmp_path, CorpusLimits(file_bytes=10)) == ["b.md"]
    assert not read_corpus(tmp_path, CorpusLimits(files=1)).whole


def test_folders_too_deep_are_not_entered(tmp_path: Path) -> None:
    put(tmp_path, "1/2/3/a.md")
    assert paths(tmp_path, CorpusLimits(depth=2)) == []


def test_a_path_narrows_to_a_file_or_a_folder(tmp_path: Path) -> None:
    for name in ("docs/a.md", "docs/sub/b.md", "docs2/c.md"):
        put(tmp_path, name)
    assert paths(tmp_path, below="docs") == ["docs/a.md", "docs/sub/b.md"]
    assert paths(tmp_path, below="docs/a.md") == ["docs/a.md"]


def test_invalid_utf8_and_a_byte_order_mark_do_not_stop_it(tmp_path: Path) -> None:
    put(tmp_path, "a.md", b"\xef\xbb\xbfok \xff\xfe\n")
    assert read_corpus(tmp_path, CorpusLimits()).texts[0].text == "ok \ufffd\ufffd\n"
