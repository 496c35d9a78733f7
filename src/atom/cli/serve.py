"""`atom serve` and `atom worker`: one process against a database that is there, for servers and containers."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import structlog
import typer

from atom.cli.database import external
from atom.cli.failures import INTERRUPTED
from atom.errors import InvalidError
from atom.infra import log
from atom.infra.budget import fit
from atom.settings import SandboxSettings, Settings, load
from atom.skills.sandbox.access import own_address, own_key
from atom.skills.sandbox.runner import process
from atom.skills.sandbox.runner.address import Address
from atom.skills.sandbox.runner.process import drop_foreign
from atom.skills.sandbox.runner.server import Runner
from atom.web.server import ALL_ROLES, Ready, Server, ServerRole, open_socket, run_process
from atom.wiring import build

DRAIN_SECONDS = 25.0  # Kubernetes gives a pod 30


class DatabaseUrlMissingError(InvalidError):
    code = "database_url_missing"


Roles = Annotated[
    list[ServerRole] | None, typer.Option("--role", help="What this process does; may be repeated. Default: all.")
]


def serve(
    *,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    role: Roles = None,
) -> None:
    """Serve against DATABASE_URL. Starts without it too: not ready, until the database is back. SIGTERM drains.

    The role `sandbox` runs skills for the others, in a process of its own that knows no database and no key.
    """
    if role and ServerRole.SANDBOX in role:
        return serve_sandbox(frozenset(role))
    web = {key: value for key, value in {"port": port, "host": host}.items() if value is not None}
    return run_roles(load(web=web), frozenset(role) if role else ALL_ROLES)


def worker() -> None:
    """Work on runs and jobs against DATABASE_URL, without the API."""
    run_roles(load(), frozenset({ServerRole.WORKER}))


def run_roles(settings: Settings, roles: frozenset[ServerRole]) -> None:
    if settings.database.url is None:
        raise DatabaseUrlMissingError(
            "DATABASE_URL is not set.",
            hint="Set it, or use `atom up`, which brings its own database.",
            field="DATABASE_URL",
        )
    database = external(settings, settings.database.url)
    log.configure(settings.logging.level, settings.logging.file)
    with open_socket(settings.web) if ServerRole.WEB in roles else contextlib.nullcontext() as listening:
        sized = settings.model_copy(update={"database": fit(settings.database, database.direct)})
        atom = build(sized, database.url, database.direct)
        drained = run_process(Server(atom, roles, _serve_on, listening=listening))
    if not drained:
        raise typer.Exit(INTERRUPTED)


def serve_sandbox(roles: frozenset[ServerRole]) -> None:
    if roles != {ServerRole.SANDBOX}:
        raise InvalidError(
            "The role sandbox cannot be together with others: it must not hold what they hold.",
            hint="Start it as a process of its own.",
            field="--role",
        )
    foreign = drop_foreign()
    settings = load()
    log.configure(settings.logging.level, settings.logging.file)
    if foreign:
        structlog.get_logger(service="skill_sandbox").warning("sandbox.foreign_settings", names=foreign)
    address = own_address(settings.sandbox, settings.home)
    key = own_key(settings.sandbox, settings.home, address)
    with address.listen() as listening:
        place = process.Place(listening, key, settings.home)
        asyncio.run(_serve_sandbox(settings.sandbox, place, address))
    if address.path:
        Path(address.path).unlink(missing_ok=True)


async def _serve_sandbox(settings: SandboxSettings, place: process.Place, address: Address) -> None:
    async def ready(runner: Runner) -> None:
        name = None if runner.sandbox is None else runner.sandbox.name
        structlog.get_logger(service="skill_sandbox").info("sandbox.serving", address=str(address), backend=name)

    await process.serve(settings, place, ready=ready, until=process.signalled, drain=DRAIN_SECONDS)


async def _serve_on(_: Ready) -> bool:
    return False
