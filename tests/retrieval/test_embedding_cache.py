"""The cache on disk: whole or nothing, never trusted, never growing without end."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from atom.retrieval.embedding_cache import EmbeddingCache
from atom.retrieval.vectors import Vectors

ROWS = Vectors.of([[1.0, 0.0], [0.5, 0.5]], 2)


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache.beside(tmp_path, "model", 2)


def test_what_is_saved_is_loaded(cache: EmbeddingCache) -> None:
    cache.save("key", ROWS)
    assert cache.load("key") == ROWS
    assert cache.load("other") is None


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"not json\n1234", b"[1]\n" + ROWS.data, b"\xff\xfe\n" + ROWS.data])
def test_a_damaged_file_is_removed_and_made_again(cache: EmbeddingCache, damage: bytes) -> None:
    cache.save("key", ROWS)
    path = cache.folder / "key.vec"
    path.write_bytes(damage)
    assert cache.load("key") is None
    assert not path.exists()


def test_one_flipped_bit_is_noticed(cache: EmbeddingCache) -> None:
    cache.save("key", ROWS)
    path = cache.folder / "key.vec"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert cache.load("key") is None


def test_vectors_of_another_size_are_not_used(cache: EmbeddingCache) -> None:
    cache.save("key", ROWS)
    assert EmbeddingCache(cache.folder, 4).load("key") is None


def test_the_folder_stays_under_its_bound_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    size = len(ROWS.data) + 130
    cache = EmbeddingCache(tmp_path / "cache", 2, max_bytes=4 * size)
    for number in range(4):
        cache.save(f"key{number}", ROWS)
        os.utime(cache.folder / f"key{number}.vec", (number + 1, number + 1))
    cache.load("key0")  # used just now
    for number in range(4, 6):
        cache.save(f"key{number}", ROWS)
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= cache.max_bytes
    assert cache.load("key0") == ROWS
    assert cache.load("key1") is None


def test_leftovers_of_a_crash_are_removed_once_they_are_old(cache: EmbeddingCache) -> None:
    cache.save("key", ROWS)
    for name, age in {"old.vec.1.aa.tmp": 3_600, "young.vec.1.bb.tmp": 0}.items():
        path = cache.folder / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))
    cache.save("key", ROWS)
    assert sorted(path.name for path in cache.folder.iterdir()) == ["key.vec", "young.vec.1.bb.tmp"]


def test_a_disk_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = EmbeddingCache(tmp_path / "cache", 2)
    cache.save("key", ROWS)
    assert cache.load("key") is None


def save_often(folder: Path) -> None:
    cache = EmbeddingCache(folder, 2, max_bytes=600)
    for number in range(100):
        cache.save(f"key{number % 5}", ROWS)
        loaded = cache.load(f"key{(number + 2) % 5}")
        assert loaded is None or loaded == ROWS


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=save_often, args=(tmp_path / "cache",)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
