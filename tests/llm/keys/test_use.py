"""Which key pays for a call, and what happens when it may not, does not work, or does not open."""

import asyncio
import time
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from atom.infra.db import unit_of_work
from atom.llm.errors import (
    ModelAuthError,
    ModelNotConfiguredError,
    ModelRequestError,
    ModelUnavailableError,
    RoutesDownError,
)
from atom.llm.failover import LOCKED_SECONDS
from atom.llm.keys.models import KeyStatus
from atom.llm.keys.service import KeyChanges, RouteWish
from atom.llm.testing import ask
from atom.settings import Provider, VaultSettings
from tests.support.desk import Desk, MakeDesk
from tests.support.vaults import BY, KEKS, secret_of

ANTHROPIC = Provider.ANTHROPIC


async def change(desk: Desk, name: str, **fields: object) -> None:
    """As another process does it: this one hears of it by reading."""
    async with unit_of_work(desk.sessions) as session:
        await desk.layer.keys.change(session, BY, name, KeyChanges(**fields))  # type: ignore[arg-type]


async def remove(desk: Desk, name: str) -> None:
    async with unit_of_work(desk.sessions) as session:
        await desk.layer.keys.remove(session, BY, name)


async def test_the_key_with_the_lowest_priority_is_used(desk: Desk) -> None:
    for name, priority in (("late", 300), ("first", 1), ("usual", 100)):
        await desk.add(name, priority=priority)
    assert (await desk.ask()).completion.text == "answered with first"
    await change(desk, "late", priority=0)
    assert (await desk.ask()).completion.text == "answered with late"
    assert desk.keys_used == ["first", "late"]


async def test_a_key_of_somebody_pays_for_that_persons_runs_only(desk: Desk) -> None:
    await desk.add("hers", owner="alice", priority=0)
    await desk.add("common")
    assert (await desk.ask(requester="operator:alice")).completion.text == "answered with hers"
    for other in ("operator:bob", "admin:alice2", "alice", None):
        assert (await desk.ask("openai/gpt-5", other)).completion.text == "answered with common"
    await remove(desk, "common")
    with pytest.raises(ModelNotConfiguredError):
        await desk.ask("openai/gpt-5", "operator:bob")
    desk.says[secret_of("hers")] = ModelUnavailableError
    await desk.add("after")
    await desk.ask(requester="operator:bob")
    assert desk.keys_used.count("hers") == 1


async def test_a_key_is_used_for_its_models_only(desk: Desk) -> None:
    await desk.add("small", models=("gpt-5-mini", "tiny-*"), priority=0)
    await desk.add("rest")
    for model, name in (("gpt-5-mini", "small"), ("tiny-1", "small"), ("gpt-5", "rest"), ("GPT-5-mini", "rest")):
        assert (await desk.ask(f"openai/{model}")).completion.text == f"answered with {name}"


async def test_a_disabled_key_is_not_used_a_second_later(desk: Desk) -> None:
    """In a process that nobody notifies, and that has the key's connection open."""
    await desk.add("a", priority=0)
    await desk.add("b")
    await desk.ask()
    assert desk.keys_used == ["a"]
    await change(desk, "a", enabled=False)
    disabled = time.monotonic()
    while time.monotonic() < disabled + 1.2:
        await desk.layer.llm.complete(None, ask("x"))
        await asyncio.sleep(0.02)
    late = [use.at - disabled for use in desk.used if use.secret == secret_of("a") and use.at > disabled]
    assert [seconds for seconds in late if seconds > 1.0] == []
    assert desk.keys_used[-1] == "b"


@pytest.mark.parametrize("how", ["disabled", "removed", "given to somebody", "kept for another model"])
async def test_a_key_that_is_taken_away_during_a_call_is_not_tried_again(desk: Desk, how: str) -> None:
    """A call with its retries may take a minute."""
    await desk.add("a")
    desk.says[secret_of("a")] = ModelUnavailableError

    async def take_away() -> None:
        match how:
            case "disabled":
                await change(desk, "a", enabled=False)
            case "removed":
                await remove(desk, "a")
            case "given to somebody":
                await change(desk, "a", owner="alice")
            case _:
                await change(desk, "a", models=("other",))
        desk.layer.directory.hear("")  # as the notification does

    desk.meanwhile = take_away
    with pytest.raises(RoutesDownError):
        await desk.ask("openai/gpt-5")
    assert desk.keys_used == ["a"]


async def test_a_secret_that_is_replaced_during_a_call_is_the_one_that_is_tried_next(desk: Desk) -> None:
    await desk.add("a")
    desk.says[secret_of("a")] = ModelUnavailableError

    async def replace() -> None:
        desk.meanwhile = None
        await change(desk, "a", secret=SecretStr(secret_of("a", 2)))
        desk.layer.directory.hear("")

    desk.meanwhile = replace
    assert (await desk.ask()).completion.text == "answered with a"
    assert [use.secret for use in desk.used] == [secret_of("a"), secret_of("a", 2)]


async def test_a_refused_key_is_followed_by_the_next_of_its_provider_and_of_no_other(desk: Desk) -> None:
    for number, name in enumerate(("a", "b")):
        await desk.add(name, priority=number)
    await desk.add("elsewhere", ANTHROPIC)
    desk.says[secret_of("a")] = ModelAuthError
    assert (await desk.ask()).completion.text == "answered with b"
    assert (await desk.row("a")).status == KeyStatus.REFUSED
    assert (await desk.ask()).completion.text == "answered with b"
    desk.says[secret_of("b")] = ModelAuthError
    for _ in range(2):
        with pytest.raises(ModelAuthError):
            await desk.ask()
    assert desk.keys_used == ["a", "b", "b", "b"], "refused ones are not tried again, and nobody else pays"


async def test_a_test_puts_a_refused_key_back_and_a_failing_one_marks_it(desk: Desk) -> None:
    await desk.add("a")
    desk.says[secret_of("a")] = ModelAuthError
    probed = await desk.tester.test("a")
    assert (probed.ok, probed.code, (await desk.row("a")).status) == (False, "llm_key_refused", KeyStatus.REFUSED)
    desk.says[secret_of("a")] = ModelUnavailableError
    probed = await desk.tester.test("a")
    assert (probed.ok, probed.code, (await desk.row("a")).status) == (False, "llm_unavailable", KeyStatus.REFUSED)
    desk.says.clear()
    probed = await desk.tester.test("a")
    assert (probed.ok, probed.models, (await desk.row("a")).status) == (True, ["gpt-5"], KeyStatus.ACTIVE)
    assert (await desk.row("a")).reason is None
    assert (await desk.ask()).completion.text == "answered with a"


async def test_a_new_secret_makes_a_refused_key_good_and_leaves_a_disabled_one_disabled(desk: Desk) -> None:
    await desk.add("a")
    desk.says[secret_of("a")] = ModelAuthError
    await desk.tester.test("a")
    await change(desk, "a", secret=SecretStr("sk-new"))
    assert ((await desk.row("a")).status, (await desk.row("a")).version) == (KeyStatus.ACTIVE, 2)
    await change(desk, "a", enabled=False)
    await change(desk, "a", secret=SecretStr("sk-newer"))
    assert (await desk.row("a")).status == KeyStatus.DISABLED, "a person disabled it: a person enables it"
    probed = await desk.tester.test("a")
    assert (probed.ok, (await desk.row("a")).status) == (True, KeyStatus.DISABLED)
    await change(desk, "a", secret=SecretStr("sk-newest"), enabled=True)
    assert (await desk.row("a")).status == KeyStatus.ACTIVE


async def test_what_was_learnt_of_the_former_secret_says_nothing_of_the_new_one(desk: Desk) -> None:
    row = await desk.add("a")
    await change(desk, "a", secret=SecretStr("sk-new"))
    async with unit_of_work(desk.sessions) as session:
        await desk.layer.keys.refused(session, row.id, version=1, reason="of the former one")
    assert (await desk.row("a")).status == KeyStatus.ACTIVE


def lock(desk: Desk, kek: Path) -> None:
    """The key is gone, and this process is one that begins now."""
    kek.unlink()
    desk.layer.vault._open = None


async def spoil(desk: Desk, name: str) -> None:
    async with unit_of_work(desk.sessions) as session:
        await session.execute(
            text('UPDATE provider_key SET envelope = envelope || \'{"ct": "AAAA"}\' WHERE name = :name'),
            {"name": name},
        )


async def test_a_key_that_does_not_open_is_passed_over(desk: Desk) -> None:
    await desk.add("a", priority=0)
    await desk.add("b")
    await spoil(desk, "a")
    done = await desk.ask()
    assert (done.completion.text, desk.keys_used) == ("answered with b", ["b"])
    assert done.fell_back_from == "openai/gpt-5.4-mini (a)"


async def test_with_a_locked_vault_the_next_provider_is_asked(make_desk: MakeDesk, home: Path) -> None:
    desk = make_desk(VaultSettings(kek_file=home / "kek"), anthropic_api_key=SecretStr("sk-environment"))
    (home / "kek").write_text(KEKS[0])
    await desk.add("a")
    lock(desk, home / "kek")
    assert (await desk.ask()).completion.text == "answered with environment"
    assert [use.provider for use in desk.used] == ["anthropic"]


@pytest.mark.parametrize("content", [None, "", KEKS[1], "not a key"])
async def test_with_nobody_else_the_call_waits_and_says_why(
    make_desk: MakeDesk, home: Path, content: str | None
) -> None:
    """Missing, empty, another one, or garbage: it is the vault that is locked, not the run that is wrong."""
    desk = make_desk(VaultSettings(kek_file=home / "kek"))
    (home / "kek").write_text(KEKS[0])
    await desk.add("a")
    lock(desk, home / "kek")
    if content is not None:
        (home / "kek").write_text(content)
    with pytest.raises(RoutesDownError) as caught:
        await desk.ask()
    assert caught.value.resume_after >= LOCKED_SECONDS, "a person has to bring the key: nobody asks twice a second"
    assert "kek" in caught.value.message
    assert KEKS[1] not in caught.value.message
    (home / "kek").write_text(KEKS[0])
    assert (await desk.ask()).completion.text == "answered with a"


@pytest.mark.parametrize("error", [ModelRequestError, ModelAuthError])
async def test_what_the_fallback_refuses_does_not_end_what_a_locked_vault_holds_up(
    make_desk: MakeDesk, home: Path, error: type[ModelRequestError]
) -> None:
    desk = make_desk(VaultSettings(kek_file=home / "kek"), anthropic_api_key=SecretStr("sk-environment"))
    (home / "kek").write_text(KEKS[0])
    await desk.add("a")
    lock(desk, home / "kek")
    desk.says["sk-environment"] = error
    with pytest.raises(RoutesDownError):
        await desk.ask()
    (home / "kek").write_text(KEKS[0])
    assert (await desk.ask()).completion.text == "answered with a"


async def test_a_route_that_names_a_key_uses_that_one_alone(desk: Desk) -> None:
    await desk.add("a", priority=0)
    await desk.add("b")
    await desk.routes(RouteWish(Provider.OPENAI, "gpt-5", "b"))
    assert (await desk.ask()).completion.text == "answered with b"
    desk.says[secret_of("b")] = ModelAuthError
    with pytest.raises(ModelAuthError):
        await desk.ask()
    assert "a" not in desk.keys_used
