"""Every domain's routes, with the services that this process wired."""

from fastapi import APIRouter
from prometheus_client import Gauge

from atom.agents import api as agents_api
from atom.feed import api as feed_api
from atom.feed.stream import Stream
from atom.governance import api as governance_api
from atom.governance.audit.api import audit_routes
from atom.governance.cache_api import decision_cache_routes
from atom.governance.delegation import DelegationService
from atom.governance.delegation_api import delegation_routes
from atom.governance.evidence.api import maturity_routes
from atom.governance.evidence.promotion import MaturityService
from atom.governance.explain_api import explain_routes
from atom.governance.grants.api import grant_routes
from atom.governance.halt_api import halt_routes
from atom.governance.policies.api import policy_routes
from atom.governance.webhooks.api import webhook_routes
from atom.identity import api as identity_api
from atom.identity.guard import public
from atom.identity.models import Permission
from atom.llm import api as llm_api
from atom.llm.budgets import api as budgets_api
from atom.llm.keys import api as keys_api
from atom.llm.keys.probe import KeyTester
from atom.llm.ledger.api import cache_routes, usage_routes
from atom.memory import api as memory_api
from atom.memory import consolidation_api
from atom.memory.archive_api import archive_routes, keeping_routes
from atom.ops import api as ops_api
from atom.runs import api as runs_api
from atom.runs.artefacts import ArtefactService
from atom.runs.artefacts_api import artefact_routes
from atom.runs.rating_api import rating_routes
from atom.settings import Settings
from atom.skills.execution import api as executions_api
from atom.skills.registry import api as skills_api
from atom.tools import api as tools_api
from atom.training.api import session_routes, training_routes
from atom.triggers import api as triggers_api
from atom.triggers import proposals_api
from atom.web.openai import api as openai_api
from atom.web.openai.answering import Answering
from atom.web.openai.watching import Watch
from atom.wiring import Parts


def routers(settings: Settings, parts: Parts) -> tuple[APIRouter, ...]:
    base, guard = parts.base, parts.guard
    metrics_access = public if settings.web.metrics_public else guard.requires(Permission.OPS_READ)
    connections = Gauge("atom_websocket_connections", "Open WebSocket connections.", registry=base.registry)
    return (
        ops_api.health_routes(parts.health, base.registry, metrics_access),
        identity_api.routes(parts.identity, base.sessions, guard),
        agents_api.routes(parts.agents, base.sessions, guard),
        runs_api.routes(parts.runs, parts.control, base.sessions, guard),
        runs_api.control_routes(parts.runs, parts.control, base.sessions, guard),
        artefact_routes(ArtefactService(parts.workspaces), base.sessions, guard),
        runs_api.file_routes(parts.agents, parts.workspaces, base.sessions, guard),
        runs_api.index_routes(parts.agents, parts.jobs, base.sessions, guard),
        delegation_routes(DelegationService(parts.approvals, base.outbox, base.clock), base.sessions, guard),
        governance_api.routes(parts.approvals, base.sessions, guard),
        webhook_routes(parts.governance.webhooks.service, base.sessions, guard),
        tools_api.routes(parts.tools, guard),
        maturity_routes(MaturityService(parts.agents), base.sessions, guard),
        rating_routes(parts.training.ratings, base.sessions, guard),
        training_routes(parts.training, base.sessions, guard),
        session_routes(parts.training, base.sessions, guard),
        halt_routes(parts.halt, base.sessions, guard),
        *governance_routers(parts),
        *audit_routes(parts.audit, base.sessions, guard),
        *trigger_routers(parts),
        consolidation_api.routes(parts.memory, parts.jobs, base.sessions, guard),
        archive_routes(parts.memory, parts.jobs, base.sessions, guard),
        keeping_routes(parts.memory, base.sessions, guard),
        memory_api.recall_routes(parts.memory, base.sessions, guard),
        memory_api.routes(parts.memory, base.sessions, guard),
        skills_api.routes(parts.skills, base.sessions, guard),
        *skill_routers(parts),
        *model_routers(parts),
        ops_api.job_routes(parts.jobs, base.sessions, guard),
        ops_api.schema_routes(guard),
        feed_api.routes(
            Stream(parts.hub, base.reader),
            parts.runs,
            base.sessions,
            guard,
            connections,
            seen=parts.triggers.watch.seen,
        ),
        *openai_routers(settings, parts),
    )


def openai_routers(settings: Settings, parts: Parts) -> tuple[APIRouter, ...]:
    base = parts.base
    watch = Watch(Stream(parts.hub, base.reader), parts.runs, parts.approvals, base.sessions)
    answering = Answering(watch, parts.control, base.sessions, settings.web.answer_seconds)
    door = openai_api.Door(parts.agents, parts.runs, parts.control, answering, base.sessions, parts.guard)
    return (openai_api.model_routes(door), openai_api.chat_routes(door), openai_api.response_routes(door))


def trigger_routers(parts: Parts) -> tuple[APIRouter, ...]:
    base, guard, layer = parts.base, parts.guard, parts.triggers
    return (
        triggers_api.routes(layer.triggers, base.sessions, guard),
        triggers_api.firing_routes(layer.triggers, base.sessions, guard),
        triggers_api.webhook_routes(layer.webhooks, base.sessions),
        proposals_api.routes(layer.proposals, layer.watch, base.sessions, guard),
    )


def model_routers(parts: Parts) -> tuple[APIRouter, ...]:
    base, guard, models, waiting = parts.base, parts.guard, parts.models, parts.patience
    tester = KeyTester(models.keys, models.llm.models, models.directory, base.sessions, base.clock)
    return (
        llm_api.routes(models.llm, guard),
        keys_api.care_routes(tester, parts.jobs, base.sessions, guard),
        keys_api.routes(models.keys, models.budgets, waiting, base.sessions, guard),
        keys_api.route_routes(models.keys, waiting, base.sessions, guard),
        budgets_api.routes(models.budgets, waiting, base.sessions, guard),
        usage_routes(models.ledger, base.clock, base.sessions, guard),
        cache_routes(models.llm.cache, guard),
    )


def governance_routers(parts: Parts) -> tuple[APIRouter, ...]:
    sessions, guard, governance = parts.base.sessions, parts.guard, parts.governance
    return (
        explain_routes(governance.service, governance.actions, parts.agents, sessions, guard),
        policy_routes(governance.policies, sessions, guard),
        grant_routes(governance.grants, sessions, guard),
        decision_cache_routes(governance.warming, sessions, guard),
    )


def skill_routers(parts: Parts) -> tuple[APIRouter, ...]:
    base, guard, executions = parts.base, parts.guard, parts.skills.executions
    return (
        executions_api.start_routes(executions, parts.jobs, base.sessions, guard),
        executions_api.execution_routes(executions, parts.jobs, base.sessions, guard),
        executions_api.sandbox_routes(executions, guard),
    )
