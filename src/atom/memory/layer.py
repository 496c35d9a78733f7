"""Memory put together: everything that other layers use of it, made once per process."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from atom.agents.service import AgentService
from atom.events.service import Signal
from atom.infra.db import Sessions
from atom.kit.clock import Clock
from atom.memory.asking import QuestionVectors
from atom.memory.embedders import Embedders, embedders
from atom.memory.embedding import EmbeddingWorker
from atom.memory.metrics import MemoryMetrics
from atom.memory.recall import RecallService
from atom.memory.service import MemoryService
from atom.retrieval.ports import Embedder
from atom.settings import MemorySettings


@dataclass(frozen=True, slots=True)
class MemoryLayer:
    """`embedding` is a task of whoever works."""

    service: MemoryService
    recall: RecallService
    embedding: EmbeddingWorker
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
) -> MemoryLayer:
    """`embedder`: the local one, where it is installed."""
    asked = embedders(settings, embedder)
    written, metrics = Signal(), MemoryMetrics(registry)
    service = MemoryService(agents, settings, written)
    questions = QuestionVectors(sessions, asked, settings.embedder_question_timeout)
    recall = RecallService(sessions, questions, settings, metrics, clock)
    return MemoryLayer(service, recall, EmbeddingWorker(sessions, asked.current, written, metrics), asked)
