"""Memory put together: everything that other layers use of it, made once per process."""

import os
import socket
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from atom.agents.service import AgentService
from atom.events.service import Signal
from atom.infra.db import Sessions
from atom.kit.clock import Clock
from atom.memory.archive import Archivist
from atom.memory.asking import QuestionVectors
from atom.memory.cold_bodies import Bodies
from atom.memory.consolidating import Consolidator, Tells, by_rule
from atom.memory.embedders import Embedders, embedders
from atom.memory.embedding import EmbeddingWorker
from atom.memory.hit_texts import HitTexts
from atom.memory.metrics import MemoryMetrics
from atom.memory.ports import ColdStore
from atom.memory.reading import Reading
from atom.memory.recall import RecallService
from atom.memory.restoring import Restorer
from atom.memory.service import MemoryService
from atom.memory.splitting import Splitter
from atom.retrieval.ports import Embedder
from atom.settings import MemorySettings


@dataclass(frozen=True, slots=True)
class MemoryLayer:
    """`embedding` is a task of whoever works; `archivist`, `restorer` and `consolidator` are jobs of it."""

    service: MemoryService
    reading: Reading
    recall: RecallService
    embedding: EmbeddingWorker
    archivist: Archivist
    restorer: Restorer
    consolidator: Consolidator
    splitter: Splitter
    metrics: MemoryMetrics
    embedders: Embedders

    async def aclose(self) -> None:
        await self.embedders.aclose()


def build_memory(
    agents: AgentService,
    settings: MemorySettings,
    sessions: Sessions,
    *,
    embedder: Embedder | None,
    registry: CollectorRegistry,
    clock: Clock,
    cold: ColdStore,
    tell: Tells = by_rule,
) -> MemoryLayer:
    """`embedder`: the local one, where it is installed."""
    asked = embedders(settings, embedder)
    written, metrics = Signal(), MemoryMetrics(registry)
    service = MemoryService(agents, settings, written)
    questions = QuestionVectors(sessions, asked, settings.embedder_question_timeout)
    bodies, moving = Bodies(sessions, cold), Bodies(sessions, cold)  # a recall waits behind no restore
    texts, reading = HitTexts(bodies, settings.cold_recall_seconds), Reading(service, bodies)
    restorer, model = Restorer(sessions, moving, settings), None if asked.current is None else asked.current.name
    return MemoryLayer(
        service=service,
        reading=reading,
        recall=RecallService(sessions, questions, settings, metrics, clock, texts),
        embedding=EmbeddingWorker(sessions, asked.current, written, metrics, reading),
        archivist=Archivist(sessions, moving, settings, f"{socket.gethostname()}:{os.getpid()}"),
        restorer=restorer,
        consolidator=Consolidator(sessions, service, settings, model, tell),
        splitter=Splitter(sessions, service, restorer),
        metrics=metrics,
        embedders=asked,
    )
