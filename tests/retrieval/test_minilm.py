"""The real embedding model: rows in order, of length one, near when the meaning is near."""

import importlib
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from atom.errors import InternalError
from atom.retrieval.local_embedder import ADAPTER, LocalEmbedder, find_local_embedder
from atom.retrieval.vectors import dot_products

FOUND = find_local_embedder()
pytestmark = [
    pytest.mark.local_model,
    pytest.mark.skipif(FOUND is None, reason="the weights of the embedding model are not installed"),
]


@pytest_asyncio.fixture(scope="module")
async def embedder() -> AsyncIterator[LocalEmbedder]:
    assert FOUND is not None
    yield FOUND
    await FOUND.aclose()


async def test_rows_are_of_length_one_and_do_not_depend_on_their_batch(embedder: LocalEmbedder) -> None:
    texts = [f"text {'long ' * number}{number}" for number in range(40)]
    rows = await embedder.embed(texts)
    alone = await embedder.embed([texts[7]])
    assert len(rows) == 40
    assert all(math.isclose(math.hypot(*row), 1, abs_tol=1e-4) for row in rows.rows())
    assert embedder.similarities(alone, rows)[7] > 0.98


async def test_near_meanings_are_nearer_than_far_ones(embedder: LocalEmbedder) -> None:
    rows = await embedder.embed(["Restart the database server", "Bake a loaf of bread"])
    [near, far] = embedder.similarities(await embedder.embed(["How do I start PostgreSQL again?"]), rows)
    assert near > far + 0.2


async def test_the_fast_comparison_is_the_plain_one(embedder: LocalEmbedder) -> None:
    rows = await embedder.embed(["one", "two", "three"])
    assert embedder.similarities(rows, rows) == pytest.approx(dot_products(rows, rows), abs=1e-5)


@pytest.mark.parametrize("text", ["", "\ud800", "\0", "word " * 5_000])
async def test_any_text_has_a_row(embedder: LocalEmbedder, text: str) -> None:
    assert len(await embedder.embed([text])) == 1


async def test_no_texts_are_no_rows(embedder: LocalEmbedder) -> None:
    rows = await embedder.embed([])
    assert (len(rows), embedder.similarities(await embedder.embed(["a"]), rows)) == (0, [])


def test_damaged_weights_are_refused_with_the_command_that_brings_them_back(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(InternalError, match="--force-reinstall"):
        importlib.import_module(ADAPTER).MiniLm(tmp_path / "model.onnx", tmp_path / "tokenizer.json")
