"""The response cache as an operator sees it: in the run, in the list of its calls, and with `atom cache`."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import URL

from atom.llm.testing import ScriptedModel
from atom.settings import LlmSettings, Provider, RedisSettings
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.own_redis import OwnRedis
from tests.support.shell import Shell
from tests.support.sse import seen


async def shown(atom: RunningAtom, run_id: str) -> tuple[bool, Any]:
    """Whether the reply came from the cache: by the run's events, and by the list of its calls, with the cost."""
    replies = [one.data["data"] for one in await seen(atom.http, run_id) if one.type == "model.replied"]
    (call,) = (await atom.http.get(f"/api/runs/{run_id}/calls")).json()["items"]
    assert replies[0]["cache_hit"] == call["cache_hit"]
    return call["cache_hit"], (float(call["cost_usd"]), call["input_tokens"], call["output_tokens"])


async def test_a_kept_answer_is_shown_as_one_and_costs_nothing(database: URL, home: Path, own_redis: OwnRedis) -> None:
    llm = LlmSettings(provider=Provider.SCRIPTED, scripted_path=home / "unused.json", temperature=0.0)
    settings = settings_for_tests(home, llm=llm, redis=RedisSettings(url=SecretStr(own_redis.url)))
    model = ScriptedModel("first", "second", "third")
    async with AsyncExitStack() as stack:
        atom = await stack.enter_async_context(running_atom(settings, database, model))
        shell = Shell(home, atom.url, atom.token)
        await atom.agent()
        paid, hit = [await atom.done("worker", "What is it?") for _ in range(2)]
        assert (paid["answer"], hit["answer"]) == ("first", "first")
        assert (await shown(atom, paid["id"]))[0] is False
        assert await shown(atom, hit["id"]) == (True, (0.0, 0, 0))
        assert (hit["usage"]["input_tokens"], float(hit["usage"]["cost_usd"])) == (0, 0.0)
        said = [(await shell("runs", "show", run["id"])).out for run in (paid, hit)]
        assert ["done, from the cache" in one for one in said] == [False, True]
        assert "0 tokens in, 0 tokens out, $0\n" in said[1]
        assert "(from the response cache" in (await shell("run", "worker", "What is it?")).out
        anew = await atom.done("worker", "What is it?", no_cache=True)
        assert (anew["answer"], (await shown(atom, anew["id"]))[0]) == ("second", False)
        stats = (await shell("cache", "stats", "--json")).json()
        assert (stats["place"], stats["entries"], stats["away"]) == ("redis", 1, False)
        assert "1 answers dropped" in (await shell("cache", "clear")).out
        assert (await atom.done("worker", "What is it?"))["answer"] == "third"
        own_redis.kill()
        refused = await shell("cache", "clear", code=None)
        assert (refused.code != 0, "llm_cache_away" in refused.err) == (True, True)
        assert (await shell("cache", "stats", "--json")).json()["away"] is True
