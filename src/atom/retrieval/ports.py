"""What retrieval needs of an embedding model."""

from collections.abc import Sequence
from typing import Protocol

from atom.retrieval.vectors import Vectors


class Embedder(Protocol):
    """Texts into vectors of length one. Vectors of embedders with different names must never be compared."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int:
        """0 where only the first answer tells them."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, in order, off the event loop. A long text counts with its start only.

        Raises EmbedderError where the model is elsewhere.
        """
        ...

    def similarities(self, query: Vectors, rows: Vectors) -> list[float]:
        """The cosine of the first row of `query` with each of `rows`. Blocks; fast."""
        ...

    async def aclose(self) -> None: ...
