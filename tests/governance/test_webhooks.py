"""Webhooks: signed, written with what they tell of, sent until they arrive, under one id, with a receipt."""

import asyncio
import base64
import hashlib
import hmac
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL, text

from atom.governance.webhooks import signing
from atom.governance.webhooks.ports import Post
from atom.infra.db import unit_of_work
from atom.llm.testing import ScriptedModel, call
from atom.settings import GovernanceSettings
from atom.web.server import ServerRole
from atom.web.testing import RunningAtom, running_atom, settings_for_tests

WRITE = call("write_file", path="a.txt", content="hello\n")


@dataclass(frozen=True, slots=True)
class Got:
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """A real HTTP server on loopback. `answer` gives the status by how many messages came before."""

    answer: Callable[[int], int] = lambda _: 204
    got: list[Got] = field(default_factory=list)
    port: int = 0
    silent: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        self.got.append(Got(headers, await reader.readexactly(int(headers["content-length"]))))
        if not self.silent:
            status = self.answer(len(self.got) - 1)
            writer.write(f"HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    async def until(self, count: int) -> list[Got]:
        async with asyncio.timeout(15):
            while len(self.got) < count:
                await asyncio.sleep(0.02)
        return self.got

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[Receiver]:
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(Receiver()) as found:
        yield found


@asynccontextmanager
async def atom_for(
    receiver: Receiver, database: URL, home: Path, *replies: Any, **governance: Any
) -> AsyncIterator[RunningAtom]:
    groups = {"governance": GovernanceSettings(webhook_allow=(f"127.0.0.1:{receiver.port}",), **governance)}
    async with running_atom(settings_for_tests(home, **groups), database, ScriptedModel(*replies)) as atom:
        yield atom


async def added(atom: RunningAtom, receiver: Receiver, **fields: Any) -> str:
    answer = await atom.http.post("/api/webhooks", json={"name": "chat", "url": receiver.url, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


async def receipts(atom: RunningAtom, status: str, count: int = 1) -> list[dict[str, Any]]:
    async with asyncio.timeout(15):
        while True:
            found = (await atom.http.get(f"/api/webhooks/chat/deliveries?status={status}")).json()["items"]
            if len(found) >= count:
                return list(found)
            await asyncio.sleep(0.02)


async def run_sql(atom: RunningAtom, statement: str) -> list[Any]:
    async with unit_of_work(atom.atom.parts.base.sessions) as session:
        result = await session.execute(text(statement))
        return [tuple(row) for row in result] if statement.startswith("SELECT") else []


def verified(got: Got, secret: str) -> dict[str, Any]:
    """As a receiver of another maker checks it, by the specification alone."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join([got.headers["webhook-id"].encode(), got.headers["webhook-timestamp"].encode(), got.body])
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert hmac.compare_digest(expected, got.headers["webhook-signature"])
    said: dict[str, Any] = json.loads(got.body)
    return said


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks specification's own libraries."""
    secret, id_ = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    found = signing.headers(secret, id_, 1614265330, b'{"test": 2432232314}')
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.integers(1, 10**6), st.integers(0, 2**32))
def test_waits_grow_to_an_hour_and_are_never_the_same_for_all(attempts: int, seed: int) -> None:
    wait = signing.wait_after(attempts, random.Random(seed))
    full = min(3600.0, 5.0 * 2.0 ** min(attempts - 1, 20))
    assert full / 2 <= wait <= full


async def test_a_question_and_its_answer_are_told_signed_and_receipted(
    database: URL, home: Path, receiver: Receiver
) -> None:
    async with atom_for(receiver, database, home, WRITE, "Done.") as atom:
        secret = await added(atom, receiver)
        await atom.agent(tools=["write_file"], maturity="intern")
        run = await atom.done("worker", "go")
        [approval] = (await atom.http.get("/api/approvals?status=pending")).json()["items"]
        asked = verified((await receiver.until(1))[0], secret)
        assert asked["type"] == "approval.requested"
        assert (asked["data"]["approval_id"], asked["data"]["run_id"]) == (approval["id"], run["id"])
        assert (asked["data"]["agent"], asked["data"]["action"]) == ("worker", "write_file")
        assert "hello" not in receiver.got[0].body.decode(), "arguments stay here"
        await atom.http.post(f"/api/approvals/{approval['id']}/approve", json={})
        decided = verified((await receiver.until(2))[1], secret)
        assert (decided["type"], decided["data"]["status"], decided["data"]["outcome"]) == (
            "approval.decided",
            "approved",
            "approved",
        )
        done = await receipts(atom, "delivered", 2)
        assert [one["id"] for one in done] == [got.headers["webhook-id"] for got in reversed(receiver.got)]
        assert {(one["attempts"], one["response_code"], one["last_error"]) for one in done} == {(1, 204, None)}
        stored = await run_sql(atom, "SELECT secret::text FROM webhook_endpoint")
        assert secret.removeprefix("whsec_") not in stored[0][0]
        assert "secret" not in (await atom.http.get("/api/webhooks/chat")).json()


async def test_an_expiry_is_told_and_what_nobody_listens_to_is_not(
    database: URL, home: Path, receiver: Receiver
) -> None:
    async with atom_for(receiver, database, home, WRITE, "Nobody.", approval_seconds=1) as atom:
        secret = await added(atom, receiver, types=["approval.expired"])
        await atom.agent(tools=["write_file"], maturity="intern")
        run = await atom.done("worker", "go")
        assert (await atom.settled(run["id"], "completed"))["answer"] == "Nobody."
        told = verified((await receiver.until(1))[0], secret)
        assert (told["type"], told["data"]["status"]) == ("approval.expired", "expired")
        assert await run_sql(atom, "SELECT type FROM webhook_delivery") == [("approval.expired",)]


async def test_what_does_not_arrive_is_tried_again_under_the_same_id(database: URL, home: Path) -> None:
    statuses = [500, 302, 200]
    answering = Receiver(lambda before: statuses[before])
    async with receiving(answering) as receiver, atom_for(receiver, database, home) as atom:
        secret = await added(atom, receiver)
        answer = await atom.http.post("/api/webhooks/chat/test")
        for tries, status in ((1, 500), (2, 302)):
            await receiver.until(tries)
            async with asyncio.timeout(10):
                while (one := (await receipts(atom, "pending"))[0])["response_code"] != status:
                    await asyncio.sleep(0.02)
            assert (one["attempts"], one["last_error"]) == (tries, f"The receiver answered {status}.")
            assert one["next_at"] > one["created_at"]
            await run_sql(atom, "UPDATE webhook_delivery SET next_at = now()")
        [done] = await receipts(atom, "delivered")
        assert (done["id"], done["attempts"]) == (answer.json()["delivery_id"], 3)
        assert {got.headers["webhook-id"] for got in receiver.got} == {done["id"]}
        assert {verified(got, secret)["type"] for got in receiver.got} == {"webhook.test"}


async def test_after_a_day_it_is_given_up_and_a_receiver_that_is_gone_is_left_alone(database: URL, home: Path) -> None:
    statuses = [500, 500, 410]
    answering = Receiver(lambda before: statuses[before])
    async with receiving(answering) as receiver, atom_for(receiver, database, home) as atom:
        await added(atom, receiver)
        await atom.http.post("/api/webhooks/chat/test")
        await receiver.until(1)
        await receipts(atom, "pending")
        old = "UPDATE webhook_delivery SET next_at = now(), created_at = now() - interval '25 hours'"
        async with asyncio.timeout(10):
            while len(receiver.got) < 2:
                await run_sql(atom, old)
                await asyncio.sleep(0.05)
        [failed] = await receipts(atom, "failed")
        assert failed["attempts"] == 2
        await atom.http.post("/api/webhooks/chat/test")
        await receipts(atom, "failed", 2)
        found = (await atom.http.get("/api/webhooks/chat")).json()
        assert (found["status"], found["reason"]) == ("disabled", "The receiver answered that it is gone (410).")


@dataclass(slots=True)
class Held:
    """Sends, and comes back only when it is let go: what a process that died would have done next never happens."""

    post_of: Post
    sent: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def check(self, url: str) -> None:
        self.post_of.check(url)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        status = await self.post_of.post(url, body, headers)
        self.sent.set()
        await self.go_on.wait()
        return status + 300


async def test_a_sender_that_dies_loses_nothing_and_who_comes_back_late_changes_nothing(
    database: URL, home: Path, receiver: Receiver
) -> None:
    """The lease of the dead ends, and the next one sends under the same id."""
    governance = GovernanceSettings(webhook_allow=(f"127.0.0.1:{receiver.port}",))
    settings = settings_for_tests(home, governance=governance)
    async with running_atom(settings, database, roles=frozenset({ServerRole.WEB})) as atom:
        await added(atom, receiver)
        sender = atom.atom.parts.governance.webhooks.sender
        assert not await sender.once()
        await atom.http.post("/api/webhooks/chat/test")

        late = Held(sender.post)
        task = asyncio.create_task(replace(sender, post=late).once())
        async with asyncio.timeout(10):
            await late.sent.wait()
        assert not await sender.once(), "somebody has it"
        await run_sql(atom, "UPDATE webhook_delivery SET leased_until = now() - interval '1 second'")

        dead = Held(sender.post)
        killed = asyncio.create_task(replace(sender, post=dead).once())
        async with asyncio.timeout(10):
            await dead.sent.wait()
        killed.cancel()
        await asyncio.wait({killed})
        await run_sql(atom, "UPDATE webhook_delivery SET leased_until = now() - interval '1 second'")

        late.go_on.set()
        await task
        [standing] = await receipts(atom, "pending")
        assert (standing["attempts"], standing["response_code"]) == (2, None), "it was somebody else's by then"
        assert await sender.once()
        [done] = await receipts(atom, "delivered")
        assert (done["attempts"], done["response_code"]) == (3, 204)
        assert [got.headers["webhook-id"] for got in receiver.got] == [done["id"]] * 3
        assert not await sender.once()


async def test_a_receiver_that_does_not_answer_holds_up_no_other(database: URL, home: Path, receiver: Receiver) -> None:
    async with receiving(Receiver(silent=True)) as dead:
        allow = (f"127.0.0.1:{receiver.port}", f"127.0.0.1:{dead.port}")
        groups = {"governance": GovernanceSettings(webhook_allow=allow)}
        async with running_atom(settings_for_tests(home, **groups), database) as atom:
            await added(atom, receiver)
            await added(atom, dead, name="dead")
            for _ in range(8):
                await atom.http.post("/api/webhooks/dead/test")
            await atom.http.post("/api/webhooks/chat/test")
            assert len(await receipts(atom, "delivered")) == 1


async def test_where_webhooks_may_not_go(database: URL, home: Path, receiver: Receiver) -> None:
    async with atom_for(receiver, database, home) as atom:
        wrong = {
            "http://10.0.0.7/hook": "url",
            "http://169.254.169.254/latest": "url",
            "https://example.com/hook": "url",  # the list names one inner host, and nothing else
            "ftp://127.0.0.1/": "url",
            "http://user:word@127.0.0.1/": "url",
        }
        for url, field_ in wrong.items():
            answer = await atom.http.post("/api/webhooks", json={"name": "x", "url": url})
            assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
                422,
                "webhook_invalid",
                field_,
            )
        unlisted = await atom.http.post("/api/webhooks", json={"name": "x", "url": "https://example.com/hook"})
        assert "ATOM_GOVERNANCE__WEBHOOK_ALLOW" in unlisted.json()["hint"]
        await added(atom, receiver)
        taken = await atom.http.post("/api/webhooks", json={"name": "CHAT", "url": receiver.url})
        assert (taken.status_code, taken.json()["code"]) == (409, "webhook_exists")
        bodies: list[dict[str, Any]] = [
            {"secret": "whsec_x"},
            {"types": []},
            {"types": ["webhook.test"]},
            {"name": "a b"},
            {"name": "00000000-0000-4000-8000-000000000001"},
        ]
        for body in bodies:
            answer = await atom.http.post("/api/webhooks", json={"name": "y", "url": receiver.url, **body})
            assert answer.status_code == 422, body
        twins = [atom.http.post("/api/webhooks", json={"name": "twin", "url": receiver.url}) for _ in range(4)]
        assert sorted(one.status_code for one in await asyncio.gather(*twins)) == [201, 409, 409, 409]
        made = await atom.http.post("/api/tokens", json={"name": "op", "role": "operator"})
        headers = {"Authorization": f"Bearer {made.json()['token']}"}
        assert (await atom.http.delete("/api/webhooks/chat", headers=headers)).status_code == 403
        assert (await atom.http.delete("/api/webhooks/chat")).status_code == 204
        assert (await atom.http.get("/api/webhooks/chat")).status_code == 404


async def test_a_secret_is_wrapped_anew_with_the_keys_of_providers(
    database: URL, home: Path, receiver: Receiver
) -> None:
    """Else the secret were gone with the key-encryption key that the operator drops after a rotation."""
    async with atom_for(receiver, database, home) as atom:
        secret = await added(atom, receiver)
        [(before,)] = await run_sql(atom, "SELECT kek_id FROM webhook_endpoint")
        job = (await atom.http.post("/api/keys/rotate")).json()["job_id"]
        async with asyncio.timeout(15):
            while (found := (await atom.http.get(f"/api/jobs/{job}")).json())["status"] not in {"completed", "failed"}:
                await asyncio.sleep(0.02)
        assert found["report"]["left"] == 0
        [(after, sealed)] = await run_sql(atom, "SELECT kek_id, secret->>'kek_id' FROM webhook_endpoint")
        assert after == sealed == found["report"]["kek_id"] != before
        keys = (home / "vault.key").read_text().splitlines()
        (home / "vault.key").write_text(keys[0] + "\n")
        await atom.http.post("/api/webhooks/chat/test")
        verified((await receiver.until(1))[0], secret)


async def test_a_secret_that_does_not_open_holds_up_no_other_and_is_told(
    database: URL, home: Path, receiver: Receiver
) -> None:
    async with atom_for(receiver, database, home) as atom:
        await added(atom, receiver)
        await added(atom, receiver, name="mail")
        spoil = "UPDATE webhook_endpoint SET secret = secret || '{\"wrapped\": \"AAAA\"}' WHERE name = 'chat'"
        await run_sql(atom, spoil)
        [(spoilt,)] = await run_sql(atom, "SELECT id::text FROM webhook_endpoint WHERE name = 'chat'")
        job = (await atom.http.post("/api/keys/rotate")).json()["job_id"]
        async with asyncio.timeout(15):
            while (found := (await atom.http.get(f"/api/jobs/{job}")).json())["status"] not in {"completed", "failed"}:
                await asyncio.sleep(0.02)
        report = found["report"]
        assert (report["rewrapped"], report["left"], report["unopened"]) == (1, 1, [spoilt])
        assert len((home / "vault.key").read_text().split()) == 2, "the former key is still needed"
