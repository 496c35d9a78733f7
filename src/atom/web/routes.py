"""Every domain's routes, with the services that this process wired."""

from fastapi import APIRouter
from prometheus_client import Gauge

from atom.agents import api as agents_api
from atom.feed import api as feed_api
from atom.feed.stream import Stream
from atom.governance import api as governance_api
from atom.identity import api as identity_api
from atom.identity.guard import public
from atom.identity.models import Permission
from atom.llm import api as llm_api
from atom.ops import api as ops_api
from atom.runs import api as runs_api
from atom.runs.artefacts import ArtefactService
from atom.runs.artefacts_api import artefact_routes
from atom.settings import Settings
from atom.tools import api as tools_api
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
        governance_api.routes(parts.approvals, base.sessions, guard),
        tools_api.routes(parts.tools, guard),
        llm_api.routes(parts.llm, guard),
        ops_api.job_routes(parts.jobs, base.sessions, guard),
        ops_api.schema_routes(guard),
        feed_api.routes(Stream(parts.hub, base.reader), parts.runs, base.sessions, guard, connections),
    )
