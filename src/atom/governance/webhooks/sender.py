"""Sends what is in the outbox, one delivery at a time, until it has arrived or a day is over.

A try is taken in one short transaction, made in none, and recorded in another. Who dies in between leaves a lease that
ends: the same message goes out once more, under the same id. Nothing is lost, and a receiver drops what it has.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from atom.errors import AtomError, UnavailableError
from atom.events.service import Signal
from atom.governance.webhooks import signing, store
from atom.governance.webhooks.models import DeliveryStatus, EndpointStatus, WebhookEndpoint
from atom.governance.webhooks.ports import Post, Sealer
from atom.infra.db import Sessions, unit_of_work, with_retry
from atom.kit.clock import Clock
from atom.kit.text import clean, shorten

LANES = 4  # endpoints that one process waits for at a time
POLL_SECONDS = 1.0
GIVE_UP_SECONDS = 86_400.0
LEASE_MARGIN = 30.0
RECORD_ATTEMPTS = 5
MAX_ERROR = 500
GONE = 410
log = structlog.get_logger(service="webhooks")


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a try: the answer's status, or why there was none."""

    code: int | None
    error: str | None

    @property
    def arrived(self) -> bool:
        return self.code is not None and 200 <= self.code < 300


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """`seconds` bounds one try. Any number of these may run, in any number of processes."""

    sessions: Sessions
    sealer: Sealer
    post: Post
    clock: Clock
    written: Signal
    seconds: float
    poll_seconds: float = POLL_SECONDS
    chance: random.Random = field(default_factory=random.SystemRandom)

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(self._lane(stop))

    async def _lane(self, stop: asyncio.Event) -> None:
        written = self.written.listen()
        try:
            while not stop.is_set():
                written.clear()
                try:
                    busy = await self.once()
                except UnavailableError:
                    busy = False
                if not busy and not stop.is_set():
                    await self._rest(stop, written)
        finally:
            self.written.forget(written)

    async def _rest(self, stop: asyncio.Event, written: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(written.wait())]
        try:
            await asyncio.wait(waits, timeout=self.poll_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def once(self) -> bool:
        """One try of the delivery that is due longest. False when nothing is due."""
        lease = self.seconds + LEASE_MARGIN
        async with unit_of_work(self.sessions) as session:
            taken = await store.take(session, seconds=lease, give_up=GIVE_UP_SECONDS)
            if taken is None:
                return False
            endpoint = await store.by_id(session, taken.endpoint_id)
        assert endpoint is not None
        tried = await self._try(endpoint, taken)
        await with_retry(lambda: self._record(endpoint, taken, tried), attempts=RECORD_ATTEMPTS)
        return True

    async def _try(self, endpoint: WebhookEndpoint, taken: store.Taken) -> Tried:
        body = taken.body.encode()
        try:
            async with unit_of_work(self.sessions) as session:
                secret = await self.sealer.unseal(session, endpoint.id, endpoint.secret)
            at = int(self.clock.now().timestamp())
            signed = {"content-type": "application/json", **signing.headers(secret, str(taken.id), at, body)}
            return Tried(await self._post(endpoint.url, body, signed), None)
        except AtomError as error:
            return Tried(None, clean(shorten(f"{error.code}: {error.message}", MAX_ERROR)))

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        return await self.post.post(url, body, headers)

    async def _record(self, endpoint: WebhookEndpoint, taken: store.Taken, tried: Tried) -> None:
        again_in: float | None = None
        values: dict[str, Any] = {"response_code": tried.code, "last_error": tried.error}
        if tried.arrived:
            values["status"] = DeliveryStatus.DELIVERED.value
        elif taken.old or tried.code == GONE:
            values["status"] = DeliveryStatus.FAILED.value
        else:
            again_in = signing.wait_after(taken.attempts, self.chance)
        if tried.code is not None and not tried.arrived:
            values["last_error"] = f"The receiver answered {tried.code}."
        async with unit_of_work(self.sessions) as session:
            mine = await store.record(session, taken, values, again_in=again_in)
            if mine and tried.code == GONE:
                reason = "The receiver answered that it is gone (410)."
                await store.change(session, endpoint.id, {"status": EndpointStatus.DISABLED.value, "reason": reason})
                await store.give_up_all(session, endpoint.id, reason)
        said = {"webhook": endpoint.name, "delivery_id": str(taken.id), "attempts": taken.attempts}
        if tried.arrived:
            log.info("webhooks.delivered", **said)
        else:
            log.warning("webhooks.not_delivered", **said, reason=values["last_error"], again_in=again_in)
