"""The model layer put together: everything that other layers use of it, made from settings once per process."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from atom.events.service import Outbox
from atom.infra.db import Sessions
from atom.infra.redis import parse_redis_url
from atom.infra.trace import Tracer
from atom.kit.clock import Clock
from atom.llm.budgets.service import BudgetService
from atom.llm.cache import NoCache, ResponseCache
from atom.llm.catalogue import load_catalogue
from atom.llm.directory import DatabaseDirectory
from atom.llm.keys.service import KeyService
from atom.llm.ledger.service import LedgerService
from atom.llm.metrics import LlmMetrics
from atom.llm.service import Factory, LlmService, adapter_factories
from atom.llm.subjects import AgentNames, Subjects
from atom.llm.vault.kek import KekSource
from atom.llm.vault.service import Vault
from atom.settings import LlmSettings, Provider, RedisSettings, VaultSettings


@dataclass(frozen=True, slots=True)
class ModelLayer:
    llm: LlmService
    vault: Vault
    keys: KeyService
    budgets: BudgetService
    ledger: LedgerService
    directory: DatabaseDirectory


@dataclass(frozen=True, slots=True)
class Base:
    """What it stands on."""

    sessions: Sessions
    outbox: Outbox
    clock: Clock
    registry: CollectorRegistry
    home: Path
    agents: AgentNames
    tracer: Tracer


def build_models(
    base: Base,
    llm: LlmSettings,
    vault: VaultSettings,
    redis: RedisSettings,
    factories: Mapping[Provider, Factory] | None = None,
) -> ModelLayer:
    """Nothing is opened yet. `factories` replaces adapters. Raises CatalogueError, RedisUrlError."""
    safe = Vault(KekSource(vault, base.home))
    keys = KeyService(safe, base.outbox)
    subjects = Subjects(base.agents)
    budgets = BudgetService(base.outbox, base.clock, subjects)
    directory = DatabaseDirectory(base.sessions, keys, llm, base.clock)
    service = LlmService(
        llm,
        adapter_factories(llm) | dict(factories or {}),
        LlmMetrics(base.registry),
        base.clock,
        directory,
        load_catalogue(llm.catalogue_path),
        _cache(llm, redis, base.clock),
        tracer=base.tracer,
    )
    return ModelLayer(service, safe, keys, budgets, LedgerService(budgets, subjects), directory)


def _cache(llm: LlmSettings, redis: RedisSettings, clock: Clock) -> ResponseCache:
    """Redis when there is one, else this process's memory. Its client is imported only where it is used."""
    if llm.cache == "off":
        return NoCache()
    if redis.url is None:
        memory = importlib.import_module("atom.llm.adapters.memory_cache")
        cache: ResponseCache = memory.MemoryCache(llm.cache_max_bytes, clock)
        return cache
    parse_redis_url(redis.url)  # what its client says of an address that it cannot read does not name the variable
    shared = importlib.import_module("atom.llm.adapters.redis_cache")
    url, bound = redis.url.get_secret_value(), llm.cache_max_bytes
    cache = shared.redis_cache(url, timeout=redis.timeout, max_bytes=bound, clock=clock)
    assert cache is not None
    return cache
