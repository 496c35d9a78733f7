"""The description of the API is whole and true: whatever is sent, the answer is one that it names."""

import json
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from atom.identity.models import Permission
from atom.web.testing import RunningAtom

PROBLEM = {"$ref": "#/components/schemas/Problem"}
OPENAI = {"$ref": "#/components/schemas/ErrorBody"}
AGENTS = ("fuzz-1", "fuzz-2", "fuzz-3")
PER_EXAMPLE = 4


@pytest_asyncio.fixture(scope="module")
async def schema(web: RunningAtom) -> dict[str, Any]:
    answer = await web.http.get("/api/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


WAYS_IN = {
    "get /api/agents", "post /api/agents", "get /api/agents/{agent}", "patch /api/agents/{agent}",
    "post /api/agents/{agent}/pause", "post /api/agents/{agent}/resume", "post /api/agents/{agent}/retire",
    "get /api/agents/{agent}/versions", "post /api/agents/{agent}/files", "post /api/agents/{agent}/runs",
    "get /api/agents/{agent}/readiness", "get /api/agents/{agent}/evidence", "post /api/agents/{agent}/promote",
    "post /api/agents/{agent}/demote", "get /api/runs/{run_id}/rating", "post /api/runs/{run_id}/rating",
    "get /api/training", "post /api/training", "get /api/training/{training_id}",
    "post /api/training/{training_id}/open", "post /api/training/{training_id}/correct",
    "post /api/training/{training_id}/rate", "post /api/training/{training_id}/dismiss",
    "post /api/agents/{agent}/index", "get /api/runs", "get /api/runs/{run_id}", "get /api/runs/{run_id}/steps",
    "get /api/runs/{run_id}/artefacts", "get /api/runs/{run_id}/artefacts/{path}",
    "post /api/runs/{run_id}/pause", "post /api/runs/{run_id}/resume", "post /api/runs/{run_id}/retry",
    "post /api/runs/{run_id}/review", "get /api/runs/{run_id}/events",
    "post /api/runs/{run_id}/cancel", "get /api/conversations/{conversation_id}",
    "get /api/tools", "get /api/models", "get /api/models/catalogue", "get /api/keys", "post /api/keys",
    "get /api/keys/{key}", "patch /api/keys/{key}", "delete /api/keys/{key}", "post /api/keys/{key}/test",
    "post /api/keys/rotate", "get /api/routes", "put /api/routes", "get /api/budgets", "put /api/budgets",
    "delete /api/budgets/{budget_id}", "get /api/usage", "get /api/runs/{run_id}/calls", "get /api/cache",
    "delete /api/cache", "get /api/halt", "put /api/halt", "delete /api/halt",
    "get /api/governance/actions", "post /api/governance/explain", "get /api/governance/policies",
    "post /api/governance/policies", "get /api/governance/policies/{policy}",
    "delete /api/governance/policies/{policy}", "post /api/governance/policies/{policy}/rollback",
    "get /api/governance/policies/{policy}/versions", "get /api/governance/policies/{policy}/diff",
    "get /api/governance/grants", "post /api/governance/grants", "delete /api/governance/grants/{agent}/{action}",
    "post /api/admin/cache/warm", "post /api/admin/cache/clear",
    "get /api/audit", "get /api/audit/chain", "get /api/audit/strays", "get /api/audit/range",
    "get /api/audit/anchors", "get /api/audit/key", "post /api/audit/reseal",
    "get /api/tokens", "post /api/tokens", "delete /api/tokens/{token_id}",
    "get /api/approvals", "get /api/approvals/{approval_id}", "post /api/approvals/{approval_id}/approve",
    "post /api/approvals/{approval_id}/reject", "get /api/approvals/summary", "post /api/approvals/approve-batch",
    "post /api/approvals/{approval_id}/delegate", "get /api/approvals/delegations",
    "post /api/approvals/delegations",
    "post /api/approvals/delegations/{delegation_id}/revoke", "get /api/webhooks", "post /api/webhooks",
    "get /api/webhooks/{webhook}", "delete /api/webhooks/{webhook}", "post /api/webhooks/{webhook}/test",
    "get /api/webhooks/{webhook}/deliveries", "get /api/jobs",
    "post /api/runs/{run_id}/correct", "post /api/runs/{run_id}/take-over",
    "get /api/triggers", "post /api/triggers", "get /api/triggers/{trigger}", "patch /api/triggers/{trigger}",
    "delete /api/triggers/{trigger}", "get /api/triggers/{trigger}/firings", "post /api/triggers/{trigger}/fire",
    "post /api/triggers/{trigger}/webhook", "get /api/proposals", "get /api/proposals/{proposal_id}",
    "post /api/proposals/{proposal_id}/approve", "post /api/proposals/{proposal_id}/reject",
    "get /api/episodes", "post /api/episodes", "get /api/episodes/stats", "post /api/episodes/recall",
    "get /api/episodes/{episode_id}", "get /api/episodes/{episode_id}/segments",
    "post /api/episodes/{episode_id}/feedback", "post /api/episodes/{episode_id}/corrections",
    "delete /api/episodes/{episode_id}", "post /api/episodes/archive", "post /api/episodes/restore",
    "get /api/episodes/export",
    "post /api/episodes/consolidate", "post /api/episodes/{episode_id}/split",
    "get /api/episodes/policies/{agent}", "put /api/episodes/policies/{agent}",
    "post /api/skills/import", "post /api/skills/validate",
    "get /api/skills", "get /api/skills/lock", "get /api/skills/{skill}",
    "put /api/skills/{skill}/access", "get /api/skills/{skill}/versions/{version}",
    "get /api/skills/{skill}/versions/{version}/files/{path}",
    "post /api/skills/{skill}/versions/{version}/approve", "post /api/skills/{skill}/versions/{version}/activate",
    "post /api/skills/{skill}/versions/{version}/disable", "post /api/skills/{skill}/versions/{version}/retire",
    "get /api/skills/{skill}/versions/{version}/scan", "post /api/skills/{skill}/executions",
    "post /api/skills/{skill}/build", "get /api/skill-executions",
    "get /api/skill-executions/{execution_id}", "post /api/skill-executions/{execution_id}/cancel",
    "get /api/skill-executions/{execution_id}/artefacts/{name}", "get /api/sandbox",
    "get /api/jobs/{job_id}", "post /api/jobs/{job_id}/cancel", "get /api/openapi.json",
    "get /v1/models", "get /v1/models/{model}", "post /v1/chat/completions", "post /v1/responses",
    "get /v1/responses/{response_id}", "post /v1/responses/{response_id}/cancel",
    "get /health/live", "get /health/ready", "get /health/metrics", "get /metrics",
}  # fmt: skip


@pytest.fixture(scope="module")
def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, one) for path, item in schema["paths"].items() for method, one in item.items()]


def test_it_names_every_way_in(operations: list[tuple[str, str, dict[str, Any]]]) -> None:
    assert {f"{method} {path}" for path, method, _ in operations} == WAYS_IN


def test_every_operation_says_what_it_answers_and_who_may_ask(
    operations: list[tuple[str, str, dict[str, Any]]],
) -> None:
    ids = [one["operationId"] for _, _, one in operations]
    assert len(set(ids)) == len(ids)
    for path, method, one in operations:
        answers = set(one["responses"])
        assert any(status.startswith("2") for status in answers), (path, method)
        compatible = path.startswith("/v1/")
        signed = path.endswith("/webhook")  # the delivery itself says who sends it
        protected = (path.startswith("/api/") and not signed) or compatible
        assert ("security" in one) == protected == ("x-permission" in one), (path, method)
        assert ("401" in answers) == (protected or signed), (path, method)
        if protected:
            assert {"400", "401", "403", "404", "413", "422", "500", "503"} <= answers, (path, method)
            assert one["x-permission"] in {permission.value for permission in Permission}
            content = one["responses"]["422"]["content"]
            wanted = (
                {"application/json": {"schema": OPENAI}}
                if compatible
                else {"application/problem+json": {"schema": PROBLEM}}
            )
            assert content == wanted, (path, method)


async def test_it_needs_a_permission(web: RunningAtom) -> None:
    made = (await web.http.post("/api/tokens", json={"name": "a", "role": "agent"})).json()
    bare = await web.http.get("/api/openapi.json", headers={"Authorization": f"Bearer {made['token']}"})
    assert (bare.status_code, bare.json()["permission"]) == (403, "ops:read")
    assert (await web.http.get("/openapi.json")).status_code == 404
    assert (await web.http.get("/docs")).status_code == 404


CHARACTERS = st.characters(exclude_categories=())  # lone surrogates and NUL among them
WILD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(CHARACTERS, max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(CHARACTERS, max_size=8), inner, max_size=3),
    max_leaves=6,
)
KNOWN = {
    "name": st.sampled_from(["a", "A", "x" * 64, "x" * 65, "caf\xe9", "a/b", "a b", ""]),
    "tools": st.lists(st.sampled_from(["read_file", "read_fil", "", "delete_file"]), max_size=3),
    "model": st.sampled_from(["", "local", "openai/x", "nope/x", "scripted", "/", "x" * 200]),
    "maturity": st.sampled_from(["student", "autonomous", "Student", ""]),
    "role": st.sampled_from(["viewer", "admin", "root"]),
    "files": st.lists(st.sampled_from(["../../etc/passwd", "/etc/passwd", "", "a\x00b", "x" * 2000]), max_size=2),
    "task": st.text(CHARACTERS, max_size=50),
    "expires_in_days": st.sampled_from([0, 1, 3650, 3651, -1, 10**30]),
    "agent": st.sampled_from([*AGENTS, "nobody", "a\x00", "...", "%2e", "\U0001f4a9"]),
    "after": st.sampled_from(["", "0", "-1", "01a20a0d-8e88-7117-9c08-46edfd98777f", "9" * 30, "\u0663"]),
    "limit": st.sampled_from(["0", "1", "200", "201", "-1", "x", "1.5", "9" * 30]),
    "step": st.sampled_from(["turn-0.call-0", "", "x" * 201]),
    "decision": st.sampled_from(["retry", "done", "abort", "maybe"]),
    "priority": st.sampled_from(["low", "normal", "high", "urgent"]),
    "max_running": st.sampled_from([0, 1, -1, 10**9, 10_000]),
    "status": st.sampled_from(["active", "running", "waiting", "x", ""]),
    "Idempotency-Key": st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=250).map(str.strip),
}
SOME_ID = st.sampled_from(["01a20a0d-8e88-7117-9c08-46edfd98777f", "nope", "0", "01A20A0D8E8871179C0846EDFD98777F"])


def draw_value(data: st.DataObject, name: str) -> Any:
    if name.endswith("_id"):
        return data.draw(SOME_ID)
    known = KNOWN.get(name, WILD)
    return data.draw(known if data.draw(st.integers(0, 3)) else WILD)


def resolve(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["components"]["schemas"][part["$ref"].rpartition("/")[2]]
    return found


def draw_request(
    data: st.DataObject, schema: dict[str, Any], path: str, one: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The address and the rest of a request to an operation: some of it right, some of it not."""
    query: list[str] = []
    headers: dict[str, bytes] = {}
    more: dict[str, Any] = {}
    for parameter in one.get("parameters", []):
        name = parameter["name"]
        value = draw_value(data, name)
        text = value if isinstance(value, str) else json.dumps(value)
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", quote(text, safe="", errors="surrogatepass") or "_")
        elif data.draw(st.booleans()):
            if parameter["in"] == "query":
                query.append(f"{name}={quote(text, errors='surrogatepass')}")
            else:
                headers[name] = "".join(c for c in text if c.isprintable()).strip().encode("latin-1", "replace")
    content = one.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        more["files"] = {data.draw(st.sampled_from(["file", "other"])): (data.draw(st.text(max_size=8)) or "f", b"x")}
    elif content:
        fields = resolve(schema, content["application/json"]["schema"])["properties"]
        body = {name: draw_value(data, name) for name in fields if data.draw(st.integers(0, 3))}
        more["content"] = json.dumps(body if data.draw(st.integers(0, 9)) else data.draw(WILD)).encode()
        headers["Content-Type"] = b"application/json"
    return path + ("?" + "&".join(query) if query else ""), {"headers": headers, **more}


@pytest_asyncio.fixture(scope="module")
async def agents(web: RunningAtom) -> None:
    for name in AGENTS:
        await web.agent(name)


class Described:
    """The API and its description. Not a dataclass: Hypothesis would print all of it."""

    def __init__(self, http: httpx2.AsyncClient, schema: dict[str, Any]) -> None:
        self.http = http
        self.schema = schema
        self.names = [f"{method} {path}" for path, item in schema["paths"].items() for method in item]


@pytest.fixture(scope="module")
def described(web: RunningAtom, agents: None, schema: dict[str, Any]) -> Described:
    return Described(web.http, schema)


@given(st.data())
async def test_whatever_is_sent_the_answer_is_one_that_is_described(described: Described, data: st.DataObject) -> None:
    schema = described.schema
    for _ in range(PER_EXAMPLE):
        method, _, path = data.draw(st.sampled_from(described.names)).partition(" ")
        one = schema["paths"][path][method]
        target, options = draw_request(data, schema, path, one)
        answer = await described.http.request(method.upper(), target, **options)
        said = f"{method} {target} {options} -> {answer.status_code} {answer.text[:300]}"
        assert answer.status_code < 500 or path == "/health/ready", said
        assert str(answer.status_code) in one["responses"], said
        content = one["responses"][str(answer.status_code)].get("content", {})
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if content:
            assert kind in content, said
        if kind.endswith("json"):
            checker = Draft202012Validator({**content[kind].get("schema", {}), "components": schema["components"]})
            assert not list(checker.iter_errors(answer.json())), said
