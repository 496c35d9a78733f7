"""The file keeps whole lines and its bound, also with several writers and when it is no file at all."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from atom.infra.log_file import LogFile

WRITER = """
import json, sys
from pathlib import Path
from atom.infra.log_file import LogFile
file = LogFile(Path(sys.argv[1]), 5_000, 400)
file.open()
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    file.write(json.dumps({"writer": sys.argv[2], "number": number, "text": "x" * (number % 90)}) + "\\n")
"""


def opened(path: Path, max_bytes: int = 1_000, kept: int = 3) -> LogFile:
    file = LogFile(path, max_bytes, kept)
    file.open()
    return file


def text_of(folder: Path, name: str = "atom.log") -> str:
    """Oldest first."""
    numbered = sorted(folder.glob(f"{name}.*"), key=lambda path: -int(path.suffix[1:]))
    return "".join(path.read_text() for path in [*numbered, folder / name])


def test_file_is_bounded_and_the_newest_lines_are_kept(tmp_path: Path) -> None:
    file = opened(tmp_path / "atom.log")
    for number in range(1_000):
        file.write(f"line {number:04}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["atom.log", "atom.log.1", "atom.log.2", "atom.log.3"]
    assert all(path.stat().st_size <= 1_000 for path in tmp_path.iterdir())
    kept = text_of(tmp_path).splitlines()
    assert kept == [f"line {number:04}" for number in range(1_000)][-len(kept) :]
    assert len(kept) > 300


def test_line_longer_than_the_bound_is_kept_whole(tmp_path: Path) -> None:
    file = opened(tmp_path / "atom.log", max_bytes=10)
    for letter in "abc":
        file.write(letter * 50 + "\n")
    assert text_of(tmp_path).splitlines() == ["a" * 50, "b" * 50, "c" * 50]


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "atom.log").write_text("old\n")
    opened(tmp_path / "atom.log").write("new\n")
    assert (tmp_path / "atom.log").read_text() == "old\nnew\n"


def test_several_processes_lose_and_mix_nothing_while_they_rotate(tmp_path: Path) -> None:
    count = 1_500
    path = tmp_path / "atom.log"
    command, pipe = [sys.executable, "-c", WRITER, str(path)], subprocess.PIPE
    writers = [
        subprocess.Popen([*command, str(writer), str(count)], stdin=pipe, stdout=pipe, text=True) for writer in range(3)
    ]
    for process in writers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in writers:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in writers:
        process.communicate()
        assert process.returncode == 0
    found = [json.loads(line) for line in text_of(tmp_path).splitlines()]
    assert len(list(tmp_path.iterdir())) > 5
    assert sorted((line["writer"], line["number"]) for line in found) == [
        (str(writer), number) for writer in range(3) for number in sorted(range(count))
    ]


def test_device_and_link_are_written_to_and_never_renamed(tmp_path: Path) -> None:
    real, link = tmp_path / "real.log", tmp_path / "link.log"
    link.symlink_to(real)
    file = opened(link, max_bytes=10)
    for _ in range(20):
        file.write("a line of text\n")
    assert link.is_symlink()
    assert real.read_text().count("\n") == 20
    opened(Path("/dev/null"), max_bytes=10).write("a line of text\n")
    assert Path("/dev/null").is_char_device()


def test_full_pipe_refuses_at_once_and_takes_lines_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    file = opened(tmp_path / "pipe")
    with pytest.raises(OSError):
        fill(file)
    drain(reader)
    file.write("again\n")
    assert os.read(reader, 65_536).endswith(b"again\n")
    os.close(reader)


def drain(reader: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(reader, 65_536):
            continue


def fill(file: LogFile) -> None:
    for _ in range(200):
        file.write("x" * 5_000 + "\n")


def test_threads_behind_logging_share_one_file(tmp_path: Path) -> None:
    """`logging` serialises writers of one process; the file must only keep each write whole."""
    file, lock = opened(tmp_path / "atom.log", 2_000, 400), threading.Lock()

    def write(name: str) -> None:
        for number in range(200):
            with lock:
                file.write(f"{name} {number}\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(text_of(tmp_path).split("\n")[:-1]) == sorted(f"{name} {n}" for name in "ab" for n in range(200))
