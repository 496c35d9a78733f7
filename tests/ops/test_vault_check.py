"""A locked vault: no traffic, the reason where an operator looks, runs that wait and go on when the key is there."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from llmock.testing import LLMockServer
from sqlalchemy import URL, text

from atom.infra.db import unit_of_work
from atom.llm.vault.errors import VaultLockedError
from atom.llm.vault.service import Locked
from atom.ops.vault_check import REPEAT_SECONDS, News
from atom.settings import LlmSettings, VaultSettings
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.planted import planted
from tests.support.polling import eventually
from tests.support.vaults import KEKS

SECRET = planted("check of the vault", "sk-canary-4f9a7b2e81d6c350aa17")


@pytest.fixture(scope="module")
def provider() -> Any:
    with LLMockServer() as server:
        yield server


@pytest_asyncio.fixture
async def atom(database: URL, home: Path, provider: LLMockServer) -> AsyncIterator[RunningAtom]:
    """With one stored key for a provider that answers, and a key-encryption key that is a mounted file."""
    (home / "kek").write_text(KEKS[0])
    settings = settings_for_tests(home, llm=LlmSettings(), vault=VaultSettings(kek_file=home / "kek"))
    async with running_atom(settings, database) as found:
        body = {"provider": "openai", "name": "a", "secret": SECRET, "base_url": f"{provider.url}/v1"}
        assert (await found.http.post("/api/keys", json=body)).status_code == 201
        found.atom.parts.models.directory.hear("")
        await eventually(lambda: found.atom.parts.models.directory.config.keys)
        yield found


async def vault_is(atom: RunningAtom, state: str) -> tuple[int, dict[str, Any]]:
    async def asked() -> tuple[int, dict[str, Any]] | None:
        answer = await atom.http.get("/health/ready", headers={"Authorization": ""})
        body = answer.json()
        return (answer.status_code, body) if body["checks"]["vault"] == state else None

    found: tuple[int, dict[str, Any]] = await eventually(asked, 6)
    return found


def replace(home: Path, content: str | None) -> None:
    (home / "kek").unlink(missing_ok=True)
    if content is not None:
        (home / "kek").write_text(content)


async def test_ready_is_503_while_the_vault_is_locked(atom: RunningAtom, home: Path) -> None:
    assert (await vault_is(atom, "healthy"))[0] == 200
    for content, code in ((None, "vault_locked"), (KEKS[1], "vault_locked"), ("not a key", "kek_invalid")):
        await locked_and_opened(atom, home, content, code)


async def locked_and_opened(atom: RunningAtom, home: Path, content: str | None, code: str) -> None:
    with structlog.testing.capture_logs() as logged:
        replace(home, content)
        status, body = await vault_is(atom, "unhealthy")
        assert (status, body["status"]) == (503, "unhealthy")
        assert str(home) not in str(body), "the cause is not told to strangers"
        (line,) = [line for line in logged if line["event"] == "vault_locked"]
        assert (line["log_level"], line["error_code"], line["service"]) == ("error", code, "byok")
        assert str(home / "kek") in line["error"]
        assert line["hint"]
        replace(home, KEKS[0])
        assert (await vault_is(atom, "healthy"))[0] == 200
    assert [line["event"] for line in logged if line["event"].startswith("vault_")] == [
        "vault_locked",
        "vault_unlocked",
    ]
    assert not [kek for kek in KEKS if kek in repr(logged)]


async def test_a_replica_without_the_current_key_gets_no_traffic(atom: RunningAtom, home: Path) -> None:
    """What it could open is all gone: another replica has rotated, and this one has the former key."""
    replace(home, f"{KEKS[1]}\n{KEKS[0]}")
    job = (await atom.http.post("/api/keys/rotate")).json()

    async def ended() -> bool:
        return bool((await atom.http.get(job["status_url"])).json()["status"] == "completed")

    await eventually(ended)
    replace(home, KEKS[0])
    assert (await vault_is(atom, "unhealthy"))[0] == 503
    answer = await atom.http.post("/api/keys", json={"provider": "openai", "name": "b", "secret": SECRET})
    assert (answer.status_code, answer.json()["code"]) == (503, "vault_locked")
    assert "atom keys rotate" in answer.json()["hint"]
    replace(home, KEKS[1])
    assert (await vault_is(atom, "healthy"))[0] == 200


async def test_one_key_that_does_not_open_takes_no_replica_out_of_traffic(atom: RunningAtom, home: Path) -> None:
    replace(home, f"{KEKS[1]}\n{KEKS[0]}")
    body = {"provider": "openai", "name": "b", "secret": SECRET}
    assert (await atom.http.post("/api/keys", json=body)).status_code == 201
    replace(home, KEKS[1])
    status, found = await vault_is(atom, "degraded")
    assert (status, found["status"]) == (200, "degraded")


async def test_a_run_waits_for_the_vault_and_goes_on_by_itself(
    atom: RunningAtom, home: Path, provider: LLMockServer
) -> None:
    """No other provider has a key: nothing is wrong with the run."""
    await atom.agent()
    replace(home, None)
    await vault_is(atom, "unhealthy")
    run = await atom.done("worker", "Say something.")
    assert (run["status"], run["wait_reason"]) == ("waiting", "provider")
    assert "The vault's key is not at" in run["wait_detail"]
    assert str(home / "kek") in run["wait_detail"]
    replace(home, KEKS[0])
    await vault_is(atom, "healthy")
    async with unit_of_work(atom.atom.parts.base.sessions) as session:  # a quarter of a minute goes by
        due = "UPDATE agent_execution SET resume_at = now() WHERE status = 'waiting' AND resume_at > now()"
        assert (await session.execute(text(due + " RETURNING id"))).all()
    assert (await atom.settled(run["id"], "completed", "failed"))["status"] == "completed"


async def test_a_run_asks_the_next_provider_while_the_vault_is_locked(
    database: URL, home: Path, provider: LLMockServer
) -> None:
    (home / "kek").write_text(KEKS[0])
    values = {"anthropic_api_key": "sk-ant-environment", "anthropic_base_url": f"{provider.url}/anthropic"}
    llm = LlmSettings.model_validate(values)
    async with running_atom(
        settings_for_tests(home, llm=llm, vault=VaultSettings(kek_file=home / "kek")), database
    ) as atom:
        body = {"provider": "openai", "name": "a", "secret": SECRET, "base_url": f"{provider.url}/v1"}
        assert (await atom.http.post("/api/keys", json=body)).status_code == 201
        replace(home, None)
        await vault_is(atom, "unhealthy")
        await atom.agent()
        run = await atom.done("worker", "Say something.")
        assert run["status"] == "completed"
        (step,) = await atom.steps(run["id"])
        assert step["result"]["provider"] == "anthropic"


def test_a_locked_vault_is_told_once_a_minute_and_when_the_reason_changes() -> None:
    at = 0.0
    news = News(lambda: at)
    one, two = (Locked(VaultLockedError(why, hint="Do this.")) for why in ("one", "two"))
    with structlog.testing.capture_logs() as logged:
        for seconds, state in (
            (0, None),
            (1, one),
            (2, one),
            (3, two),
            (4, two),
            (5 + REPEAT_SECONDS, two),
            (70, None),
        ):
            at = float(seconds)
            news.tell(state)
        news.tell(None)
    assert [line.get("error", line["event"]) for line in logged] == ["one", "two", "two", "vault_unlocked"]
