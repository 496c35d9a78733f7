"""The vector of a question, of a model whose vectors can answer it, within a bounded wait."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from atom.infra.db import Sessions, unit_of_work
from atom.memory import model_store
from atom.memory.embedders import Embedders, away
from atom.memory.model_store import Known
from atom.memory.recall_store import Vector
from atom.retrieval.errors import EmbedderError
from atom.retrieval.ports import Embedder

CHOICE_SECONDS = 5.0  # how long a process goes on with its choice; vectors are kept longer than that
AWAY_SECONDS = 10.0  # how long an embedder that failed is not asked again: each question would wait in vain
log = structlog.get_logger(service="episodic_memory")


class WordsOnly(StrEnum):
    """Why nothing was compared by meaning."""

    NO_EMBEDDER = "no_embedder"
    NO_PGVECTOR = "no_pgvector"
    EMBEDDER_AWAY = "embedder_away"
    OTHER_MODEL = "other_model"


@dataclass(frozen=True, slots=True)
class Meaning:
    """`vector` None: by words only, `words_only` says why. `re_embedding`: another model is on its way; what is not
    embedded by the model of `vector` is found by words."""

    vector: Vector | None = None
    words_only: WordsOnly | None = None
    re_embedding: bool = False


@dataclass(slots=True)
class QuestionVectors:
    """One per process. `patience`: seconds, in all, that a question waits for embedders of other machines."""

    sessions: Sessions
    embedders: Embedders
    patience: float
    _models: Sequence[Known] = field(default=(), init=False)
    _known_until: float = field(default=0.0, init=False)
    _away_until: dict[str, float] = field(default_factory=dict, init=False)

    async def of(self, query: str) -> Meaning:
        """Nothing is open while it is made."""
        current = self.embedders.current
        if not query.strip():
            return Meaning()
        if current is None:
            return Meaning(words_only=WordsOnly.NO_EMBEDDER)
        models = await self._known(current.name)
        if not models:
            return Meaning(words_only=WordsOnly.NO_PGVECTOR)
        asked = [(embedder, model) for model in _in_turn(models, current.name) if (embedder := self._of(model))]
        if not asked:
            return Meaning(words_only=WordsOnly.OTHER_MODEL)
        until = time.monotonic() + self.patience
        for embedder, model in asked:
            values = await self._embed(embedder, query, until)
            if values is not None and len(values) == model.dimensions:
                whole = model.complete and model.model == current.name
                return Meaning(Vector(model.model, values), re_embedding=not whole)
        return Meaning(words_only=WordsOnly.EMBEDDER_AWAY)

    def _of(self, model: Known) -> Embedder | None:
        return self.embedders.named(model.model)

    async def _known(self, name: str) -> Sequence[Known]:
        """Read anew unless the present model is complete: then it is the answer for some seconds more."""
        if time.monotonic() >= self._known_until:
            async with unit_of_work(self.sessions) as session:
                self._models = await model_store.known(session)
            settled = any(one.model == name and one.complete for one in self._models)
            self._known_until = time.monotonic() + (CHOICE_SECONDS if settled else 0.0)
        return self._models

    async def _embed(self, embedder: Embedder, query: str, until: float) -> Sequence[float] | None:
        """None where it does not answer: one of this machine always does, and is waited for."""
        if not away(embedder.name):
            return (await embedder.embed([query])).rows()[0]
        now = time.monotonic()
        if now >= until or now < self._away_until.get(embedder.name, 0.0):
            return None
        try:
            async with asyncio.timeout(until - now):
                return (await embedder.embed([query])).rows()[0]
        except (EmbedderError, TimeoutError) as error:
            self._away_until[embedder.name] = time.monotonic() + AWAY_SECONDS
            why = str(error) if isinstance(error, EmbedderError) else f"no vector within {self.patience:g} s"
            log.warning("memory.question_by_words", model=embedder.name, error=why)
            return None


def _in_turn(models: Sequence[Known], name: str) -> list[Known]:
    """Whose vectors answer best: this process's model when it is complete, else one that is, else its own so far."""
    mine = [one for one in models if one.model == name]
    others = [one for one in models if one.model != name and one.complete]
    return [*mine, *others] if any(one.complete for one in mine) else [*others, *mine]
