"""Search in a workspace: it finds, refuses, remembers, and says what it did not look at."""

import asyncio
from pathlib import Path

import pytest

from atom.retrieval.corpus import CorpusLimits
from atom.retrieval.testing import WordEmbedder
from atom.retrieval.workspace import SearchLimits, WorkspaceSearch, workspace_search

GUIDE = """# Guide
## Pool
```bash
# Increase the pool size
pool_size = 20
max_overflow = 10

# Restart the application
kubectl rollout restart deployment/atom
```
## Skills
```bash
# Restart the application
kubectl rollout restart deployment/atom
sandbox_timeout = 300
```
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "guide.md").write_text(GUIDE)
    return folder


def searching(tmp_path: Path, embedder: WordEmbedder | None, limits: SearchLimits | None = None) -> WorkspaceSearch:
    return WorkspaceSearch(embedder, tmp_path / "cache", limits)


@pytest.mark.parametrize("embedder", [None, WordEmbedder()], ids=["words only", "with an embedder"])
async def test_the_best_line_comes_first_with_its_place(
    tmp_path: Path, folder: Path, embedder: WordEmbedder | None
) -> None:
    result = await searching(tmp_path, embedder).search(folder, "What is the pool size?", 3)
    best = result.hits[0]
    assert (best.path, best.line, best.text) == ("guide.md", 5, "pool_size = 20")
    assert best.context == "Guide > Pool > Increase the pool size"
    assert (result.semantic, result.indexed) == ((True, result.lines) if embedder else (False, 0))
    assert len(result.hits) <= 3


@pytest.mark.parametrize("embedder", [None, WordEmbedder()], ids=["words only", "with an embedder"])
async def test_what_is_not_in_the_files_is_not_found(
    tmp_path: Path, folder: Path, embedder: WordEmbedder | None
) -> None:
    assert (await searching(tmp_path, embedder).search(folder, "What is the capital of France?", 5)).hits == ()


async def test_the_same_text_is_one_hit_that_names_its_other_places(tmp_path: Path, folder: Path) -> None:
    hits = (await searching(tmp_path, WordEmbedder()).search(folder, "How do I restart the application?", 5)).hits
    assert [hit.text for hit in hits].count("kubectl rollout restart deployment/atom") == 1
    assert {hits[0].line, *hits[0].also} == {9, 14}


async def test_lines_are_embedded_once_and_again_only_when_their_file_changes(tmp_path: Path, folder: Path) -> None:
    embedder = WordEmbedder()
    first = await searching(tmp_path, embedder).index(folder)
    assert (first.embedded, first.reused) == (first.lines, 0)
    embedder.asked.clear()
    again = await searching(tmp_path, embedder).index(folder)  # another process with the same cache
    assert (again.embedded, again.reused, embedder.asked) == (0, first.lines, [])
    (folder / "guide.md").write_text(GUIDE + "A new line.\n")
    assert (await searching(tmp_path, embedder).index(folder)).embedded == first.lines + 1


async def test_an_interrupted_index_goes_on_where_it_was(tmp_path: Path, folder: Path) -> None:
    (folder / "long.txt").write_text("".join(f"line number {number}\n" for number in range(1_000)))
    broken = WordEmbedder(broken_after=600)
    seen: list[tuple[int, int]] = []
    with pytest.raises(RuntimeError, match="broke"):
        await searching(tmp_path, broken).index(folder, lambda done, total: seen.append((done, total)))
    report = await searching(tmp_path, WordEmbedder()).index(folder)
    assert report.reused == seen[-1][0] == len(broken.asked) > 0
    assert report.embedded == report.lines - len(broken.asked)


async def test_progress_counts_to_the_end(tmp_path: Path, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = await searching(tmp_path, WordEmbedder()).index(folder, lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, report.lines)
    assert seen[-1] == (report.lines, report.lines)
    assert seen == sorted(seen)


async def test_of_a_workspace_too_large_only_candidates_are_embedded_and_it_says_so(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "long.txt").write_text("".join(f"filler text {number}\n" for number in range(300)))
    embedder = WordEmbedder()
    search = searching(tmp_path, embedder, SearchLimits(embed_lines=50, candidates=20))
    result = await search.search(folder, "What is the pool size?", 3)
    assert result.hits[0].text == "pool_size = 20"
    assert (result.indexed, len(embedder.asked) < 50) == (0, True)


async def test_what_is_beyond_the_limits_is_said(tmp_path: Path, folder: Path) -> None:
    (folder / "other.md").write_text("Another file about the pool size\n")
    (folder / "binary.bin").write_bytes(b"\0")
    few = SearchLimits(corpus=CorpusLimits(files=1))
    assert not (await searching(tmp_path, None, few).search(folder, "pool size", 3)).whole
    short = await searching(tmp_path, None, SearchLimits(lines=5)).search(folder, "pool size", 3)
    assert (short.whole, short.lines, short.skipped) == (False, 0, 1)


async def test_an_empty_or_missing_folder_has_no_lines(tmp_path: Path) -> None:
    result = await searching(tmp_path, WordEmbedder()).search(tmp_path / "nowhere", "pool size", 3)
    assert (result.hits, result.files, result.lines) == ((), 0, 0)


async def test_searches_at_once_share_the_work(tmp_path: Path, folder: Path) -> None:
    embedder = WordEmbedder()
    search = searching(tmp_path, embedder)
    await asyncio.gather(*(search.search(folder, "pool size", 3) for _ in range(5)))
    lines = [text for text in embedder.asked if text.startswith("Guide > Pool > Increase the pool size: pool_size")]
    assert len(lines) == 1


async def test_the_home_folder_holds_the_cache(tmp_path: Path, folder: Path) -> None:
    search = workspace_search(tmp_path / "home")
    await search.search(folder, "pool size", 1)
    assert search.semantic == bool(list((tmp_path / "home").rglob("*.vec")))
    await search.aclose()
    assert [path.name for path in folder.iterdir()] == ["guide.md"]
