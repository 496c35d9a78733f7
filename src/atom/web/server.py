"""One Atom process: its tasks by role, its start, and a stop that loses nothing."""

import asyncio
import contextlib
import gc
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import setproctitle
import structlog
import uvicorn

from atom.durable.ports import Topic
from atom.errors import InternalError, UnavailableError
from atom.ops.bootstrap import first_admin, wait_until_usable
from atom.settings import Settings, WebSettings
from atom.web.app import create_app
from atom.web.protocol import BoundedHttp
from atom.web.routes import routers
from atom.wiring import Atom

JOBS_AT_ONCE = 2
RESTART_SECONDS = 1.0  # doubled each time it fails again soon
STEADY_SECONDS = 30.0
CLOSE_SECONDS = 5.0
CUT_SECONDS = 2.0
BACKLOG = 2048
STUCK_MILLISECONDS = 30_000  # for a peer that takes nothing of what it was sent
SIGNALS = (signal.SIGTERM, signal.SIGINT)
log = structlog.get_logger(service="worker")


class ServerRole(StrEnum):
    """What a process does. Without a choice it does everything."""

    WEB = "web"
    WORKER = "worker"
    SANDBOX = "sandbox"


ALL_ROLES = frozenset({ServerRole.WEB, ServerRole.WORKER})  # a sandbox is apart from both: they hold credentials


class PortInUseError(UnavailableError):
    code = "port_in_use"
    retryable = False


@dataclass(frozen=True, slots=True)
class Ready:
    """Told when the process serves. `new_token`: the first admin's, made just now."""

    url: str
    new_token: str | None


Task = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Runs until the event is set."""

OnReady = Callable[[Ready], Awaitable[bool]]
"""True: stop now (a one-off start)."""


class _Uvicorn(uvicorn.Server):
    """Signals are ours: the stop has an order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(slots=True)
class Server:
    """`extra` are tasks of the caller that live as long as the process, such as the watch over an embedded database.

    `listening` None: the socket is opened here. `on_signal` is called once, when a signal begins the stop.
    """

    atom: Atom
    roles: frozenset[ServerRole]
    on_ready: OnReady
    extra: tuple[Task, ...] = ()
    listening: socket.socket | None = None
    on_signal: Callable[[], None] | None = None
    _leaving: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _at_once: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _stop_work: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _work: list[asyncio.Task[None]] = field(default_factory=list, init=False)
    _support: list[asyncio.Task[None]] = field(default_factory=list, init=False)

    async def run(self) -> bool:
        """Until SIGTERM, SIGINT or a one-off's end. False when a second signal cut the stop short."""
        setproctitle.setproctitle(f"atom: {'all' if self.roles == ALL_ROLES else ' '.join(sorted(self.roles))}")
        settings = self.atom.settings.web
        listening = (self.listening or open_socket(settings)) if ServerRole.WEB in self.roles else None
        web = self._web() if listening else None
        self._watch_signals()
        for number, task in enumerate(self.extra):
            self._support.append(self._spawn(f"extra-{number}", task, self._stop))
        serving = asyncio.create_task(web.serve(sockets=[listening]), name="web") if web and listening else None
        try:
            await self._live(listening, serving)
        finally:
            await self._shut_down(web, serving)
        return not self._at_once.is_set()

    def leave(self) -> None:
        """Begin to stop: not ready from now on, nothing new is begun. Harmless when it is called again."""
        self.atom.parts.health.drain()
        self.atom.worker.control.drain()
        self._leaving.set()

    async def _live(self, listening: socket.socket | None, serving: asyncio.Task[None] | None) -> None:
        """Until `leave`. Raises what the start raises; a web server that ends by itself ends the process."""
        life = asyncio.create_task(self._start(listening), name="start")
        leaving = asyncio.create_task(self._leaving.wait())
        watched: set[asyncio.Task[Any]] = {life, leaving, *([serving] if serving else [])}
        try:
            while not self._leaving.is_set():
                done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {leaving}:
                    await task
                if serving in done:
                    raise InternalError("The web server ended by itself.", hint="The log has the reason.")
                watched -= done
        finally:
            await _cancelled({life, leaving})

    async def _start(self, listening: socket.socket | None) -> None:
        """In the order of need; each step waits for a database that is away."""
        parts = self.atom.parts
        await wait_until_usable(parts.health.checks)
        await parts.models.directory.fresh()  # the first run is claimed with the keys and routes that are in force
        self._start_tasks()
        url = url_of(self.atom.settings, listening) if listening else ""
        token = None
        if listening:  # where the API is, people look for the file
            token = await first_admin(parts.identity, parts.base.sessions, self.atom.settings.home)
        log.info("server.ready", url=url, roles=sorted(role.value for role in self.roles))
        if await self.on_ready(Ready(url, token)):
            self.leave()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        """The first one drains, the second does not wait for anything, a third is the system's to handle."""
        if self._leaving.is_set():
            log.warning("server.stopped_at_once")
            self._at_once.set()
            self._forget_signals()
            return
        if self.on_signal is not None:
            self.on_signal()
        self.leave()

    def _forget_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    def _web(self) -> _Uvicorn:
        app = create_app(routers(self.atom.settings, self.atom.parts), self.atom.settings.web)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=BoundedHttp,
            ws="websockets-sansio",
            ws_max_size=65_536,
            ws_ping_interval=20,
            ws_ping_timeout=20,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(CLOSE_SECONDS),
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
        )
        return _Uvicorn(config)

    def _start_tasks(self) -> None:
        atom = self.atom
        support = {
            "sequencer": atom.sequencer.run,
            "listener": atom.listener.run,
            "models": atom.parts.models.directory.watch,
            "anchors": atom.parts.audit.anchoring.run,
        }
        if ServerRole.WEB in self.roles:  # only who has viewers reads what they are to be shown
            support["feed"] = atom.parts.hub.run
        self._support += [self._spawn(name, task, self._stop) for name, task in support.items()]
        if ServerRole.WORKER in self.roles:
            work = {
                "sweep": atom.sweep.run,
                "queue": self._answer_rings,
                "webhooks": atom.parts.governance.webhooks.sender.run,
                "memory": atom.parts.memory.embedding.run,
                "sandbox": atom.parts.skills.prepare,
            }
            self._work += [self._spawn(name, task, self._stop_work) for name, task in work.items()]

    def _spawn(self, name: str, run: Task, stop: asyncio.Event) -> asyncio.Task[None]:
        return asyncio.create_task(supervise(name, run, stop), name=name)

    async def _answer_rings(self, stop: asyncio.Event) -> None:
        handlers = {Topic.RUN: self.atom.worker.advance, Topic.JOB: self.atom.job_runner.advance}
        concurrency = {Topic.RUN: self.atom.settings.runs.max_concurrent, Topic.JOB: JOBS_AT_ONCE}
        await self.atom.parts.base.doorbell.work(handlers, concurrency, stop)

    async def _shut_down(self, web: _Uvicorn | None, serving: asyncio.Task[None] | None) -> None:
        """Runs first, while the API still answers (they reach a step boundary or are handed over), then the rest."""
        self.leave()
        self._stop_work.set()
        await self._ended(self._work, self.atom.settings.web.drain_seconds + CLOSE_SECONDS)
        self._stop.set()
        self.atom.parts.hub.close()
        self.atom.parts.base.stamped.set()  # the feed looks up at once
        if web:
            web.should_exit = True
        await self._ended([*self._support, *([serving] if serving else [])], CLOSE_SECONDS * 2)
        await self.atom.aclose()
        self._forget_signals()
        log.info("server.stopped")

    async def _ended(self, tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
        """At most so long, and no longer at all after a second signal; who is late is cut off."""
        if not tasks:
            return
        at_once = asyncio.create_task(self._at_once.wait())
        waiting = asyncio.create_task(asyncio.wait(tasks))
        await asyncio.wait({waiting, at_once}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        late = {task for task in tasks if not task.done()}
        for task in late:
            log.warning("server.task_cut_off", task=task.get_name())
        await _cancelled({at_once, waiting, *late})


def run_process(server: Server) -> bool:
    """`server.run()` as all that this process does from now on.

    What exists now lives to the end. Frozen, it is left out of each full collection of garbage, which took 96 ms for
    these 150,000 objects, and in which nothing else happens.
    """
    gc.freeze()
    return asyncio.run(server.run())


def open_socket(settings: WebSettings) -> socket.socket:
    """Raises PortInUseError, and the same for an address that this machine does not have."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(
        socket, "TCP_USER_TIMEOUT"
    ):  # every connection inherits it; nothing else lets go of a peer that is stuck
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK_MILLISECONDS)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise PortInUseError(
            f"Atom cannot listen on {settings.host}:{settings.port}: {error.strerror}.",
            hint="Choose another with --port or ATOM_WEB__PORT, or stop what uses it.",
        ) from error
    listening.setblocking(False)
    return listening


def url_of(settings: Settings, listening: socket.socket) -> str:
    port = listening.getsockname()[1]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.web.host, settings.web.host)  # noqa: S104 - shown, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def supervise(name: str, run: Task, stop: asyncio.Event, *, wait: float = RESTART_SECONDS) -> None:
    """A background task that fails is started again: one bug must not silence the feed or the sweep for ever."""
    pause = wait
    while not stop.is_set():
        began = time.monotonic()
        try:
            await run(stop)
            if stop.is_set():
                return
            log.error("server.task_ended", task=name, error_code="internal_error")
        except Exception:
            log.exception("server.task_crashed", task=name, error_code="internal_error")
        pause = wait if time.monotonic() - began > STEADY_SECONDS else pause
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
        pause = min(pause * 2, STEADY_SECONDS)


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel, and give them a moment: what a task holds is given back on its way out."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=CUT_SECONDS)
