"""A provider dies, is changed by its variable, or by the list of routes, while fifty runs work: all of them finish."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from atom.infra.embedded_postgres import EmbeddedPostgres, read_endpoint
from tests.support.own_postgres import own
from tests.support.planted import planted
from tests.support.processes import Daemon, agent, atom, atom_up, start_run, started, until
from tests.support.provider import Provider, now, provider

__all__ = ["own"]
RUNS = 50
SECONDS = 60.0
FIRST_SECONDS = 4.0  # of a call at the first one: nearly all runs are in the middle of one when something happens
FIRST_KEY, NEXT_KEY = planted("first provider", "sk-first"), planted("next provider", "sk-next")
OPENAI, ANTHROPIC = "openai/gpt-first", "anthropic/claude-next"
ALWAYS: dict[str, Any] = {"times": None}
CALL = {"type": "reply", "tool_calls": [{"name": "current_time", "arguments": {}}], **ALWAYS}
ANSWER = {"type": "reply", "text": "It is late, and all is well here.", **ALWAYS}


@contextmanager
def providers() -> Iterator[tuple[Provider, Provider]]:
    with ExitStack() as stack:
        yield stack.enter_context(provider(FIRST_SECONDS)), stack.enter_context(provider(0.1))


def variables(first: Provider, following: Provider, **more: str) -> dict[str, str]:
    return {
        "OPENAI_API_KEY": FIRST_KEY,
        "ATOM_LLM__OPENAI_BASE_URL": first.openai,
        "ATOM_LLM__OPENAI_MODEL": OPENAI.partition("/")[2],
        "ANTHROPIC_API_KEY": NEXT_KEY,
        "ATOM_LLM__ANTHROPIC_BASE_URL": following.anthropic,
        "ATOM_LLM__ANTHROPIC_MODEL": ANTHROPIC.partition("/")[2],
        "ATOM_RUNS__MAX_CONCURRENT": str(RUNS),
        "ATOM_RUNS__MAX_TURNS": "200",
        "ATOM_RUNS__MAX_TOOL_CALLS": "200",
        **more,
    }


def begin(http: httpx2.Client, count: int = RUNS) -> list[str]:
    return [start_run(http, f"task {number}") for number in range(count)]


Rows = dict[str, list[dict[str, Any]]]  # by run, the oldest first


def calls(url: str) -> Rows:
    """Every attempt, as `GET /api/runs/ID/calls` lists it for one run."""
    return _by_run(
        url, "SELECT execution_id::text, to_jsonb(llm_call) FROM llm_call ORDER BY execution_id, at, attempt"
    )


def events(url: str, kind: str) -> Rows:
    return _by_run(url, f"SELECT run_id::text, data FROM event WHERE type = '{kind}' ORDER BY seq")


def _by_run(url: str, query: str) -> Rows:
    found: Rows = defaultdict(list)
    with psycopg.connect(url) as connection:
        for run_id, row in connection.execute(query.encode()).fetchall():
            found[run_id].append(row)
    return found


def embedded(home: Path) -> str:
    endpoint = read_endpoint(home)
    assert endpoint is not None
    return endpoint.url.get_secret_value()


def until_true(url: str, condition: str) -> None:
    """Asked of the database: asking the API all the time would be most of what Atom does here."""
    with psycopg.connect(url, autocommit=True) as connection:
        query = f"SELECT bool_and({condition}) FROM agent_execution"
        until(lambda: connection.execute(query.encode()).fetchall() == [(True,)], SECONDS, what=condition)


def all_have_asked(url: str) -> None:
    until_true(url, "model_calls > 0")


def ended_well(url: str, http: httpx2.Client, runs: list[str]) -> None:
    until_true(url, "status IN ('completed', 'failed', 'cancelled')")
    ended = [run for run in http.get("/api/runs?limit=200").json()["items"] if run["id"] in runs]
    assert Counter(run["status"] for run in ended) == {"completed": len(runs)}, [run["error"] for run in ended]
    assert {run["answer"] for run in ended} == {ANSWER["text"]}


def test_fifty_runs_finish_with_the_next_provider_when_the_first_one_dies(home: Path) -> None:
    with providers() as (first, following):
        first.says(CALL)  # nobody gets an answer out of it: every run is in the middle when it dies
        following.says(ANSWER)
        with atom_up(home, env=variables(first, following)) as daemon, daemon.client() as http:
            agent(http, tools=["current_time"])
            runs = begin(http)
            all_have_asked(embedded(home))
            first.kill()
            ended_well(embedded(home), http, runs)
            _each_says_who_answered(embedded(home), runs)
            listed_calls = http.get(f"/api/runs/{runs[0]}/calls?limit=200").json()["items"]
            assert (listed_calls[0]["provider"], listed_calls[-1]["provider"]) == ("openai", "anthropic")
            _is_logged(daemon)
            assert daemon.mishaps == []


def _each_says_who_answered(url: str, runs: list[str]) -> None:
    """In its events and in the list of its calls: those of the first one, what failed, and then the next one's."""
    made, replied, changed = calls(url), events(url, "model.replied"), events(url, "model.failed_over")
    for run_id in runs:
        ends = [(call["provider"], call["outcome"]) for call in made[run_id]]
        assert (ends[0], ends[-1]) == (("openai", "ok"), ("anthropic", "ok"))
        failed = [end for end in ends if end[1] != "ok"]
        assert set(failed) <= {("openai", "llm_unavailable")}
        assert [reply["instead_of"] for reply in replied[run_id]] == [None] * (len(ends) - len(failed) - 1) + [OPENAI]
        assert [(change["from"], change["to"]) for change in changed[run_id]] == [(OPENAI, ANTHROPIC)] * len(failed)
    assert sum(len(changes) for changes in changed.values()) > RUNS / 2  # most were in the middle of a call


def _is_logged(daemon: Daemon) -> None:
    answered = daemon.events("llm.answered_by_fallback")
    assert len(answered) == RUNS
    assert {(line["provider"], line["instead_of"], line["service"]) for line in answered} == {
        ("anthropic", OPENAI, "byok")
    }
    assert daemon.events("llm.failed_over")
    assert FIRST_KEY not in daemon.said


def test_fifty_runs_follow_new_routes_within_a_second(home: Path) -> None:
    with providers() as (first, following):
        first.says(CALL)
        following.says(ANSWER)
        with atom_up(home, env=variables(first, following)) as daemon, daemon.client() as http:
            agent(http, tools=["current_time"])
            runs = begin(http)
            all_have_asked(embedded(home))
            done = atom(home, "keys", "routes", "anthropic", "openai", env={"ATOM_URL": daemon.url})
            changed = now()
            assert done.code == 0, done
            ended_well(embedded(home), http, runs)
            assert max(call["started_at"] for call in first.asked()) < changed + 1.0
            replied = events(embedded(home), "model.replied")
            last = {(replied[run_id][-1]["provider"], replied[run_id][-1]["instead_of"]) for run_id in runs}
            assert last == {("anthropic", None)}
            assert daemon.mishaps == []


def test_fifty_runs_survive_another_llm_provider(own: EmbeddedPostgres, folder: Path) -> None:
    """`kubectl set env deployment/atom LLM_PROVIDER=anthropic`: a new process comes, the old one is told to go."""
    url = own.endpoint.url.get_secret_value()
    with providers() as (first, following):
        first.says(CALL)
        following.says(ANSWER)
        old = variables(first, following, LLM_PROVIDER="openai", DATABASE_URL=url)
        with started("serve", "--port", "0", home=folder, env=old) as before, before.ready().client() as http:
            agent(http, tools=["current_time"])
            runs = begin(http)
            all_have_asked(url)
            new = old | {"LLM_PROVIDER": "anthropic"}
            with started("serve", "--port", "0", home=folder, env=new) as after:
                after.ready()
                assert before.stop() == 0
                gone = now()
                with after.client() as there:
                    ended_well(url, there, runs)
                    later = begin(there, 5)
                    ended_well(url, there, later)
                made, replied = calls(url), events(url, "model.replied")
                assert {call["provider"] for run_id in later for call in made[run_id]} == {"anthropic"}
                assert {replied[run_id][-1]["instead_of"] for run_id in runs} == {None}
                assert {call["outcome"] for run_id in runs for call in made[run_id]} <= {"ok", "aborted"}
                assert max(call["started_at"] for call in first.asked()) < gone
                assert before.mishaps == after.mishaps == []
