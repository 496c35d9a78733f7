"""Memory put together: everything that other layers use of it, made once per process."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from atom.agents.service import AgentService
from atom.events.service import Signal
from atom.infra.db import Sessions
from atom.kit.clock import Clock
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


def build_memory(
    agents: AgentService,
    settings: MemorySettings,
    sessions: Sessions,
    *,
    embedder: Embedder | None,
    registry: CollectorRegistry,
    clock: Clock,
) -> MemoryLayer:
    chosen = embedder if settings.embedder == "local" else None
    written, metrics = Signal(), MemoryMetrics(registry)
    service = MemoryService(agents, settings, written)
    recall = RecallService(sessions, chosen, settings, metrics, clock)
    return MemoryLayer(service, recall, EmbeddingWorker(sessions, chosen, written, metrics))
