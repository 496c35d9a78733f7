"""What can be granted and which model answers, as REST tells it."""

from pathlib import Path

from jsonschema import Draft202012Validator
from pydantic import SecretStr
from sqlalchemy import URL

from atom.settings import LlmSettings, Provider
from atom.web.testing import RunningAtom, running_atom, settings_for_tests
from tests.support.planted import planted

TOOLS = {
    "list_files": (1, "read", False), "read_file": (1, "read", False), "search_text": (1, "read", False),
    "current_time": (1, "read", False), "calculate": (1, "read", False), "http_get": (3, "read", True),
    "call_agent": (2, "idempotent", False), "write_file": (3, "effect", False),
    "delete_file": (4, "irreversible", False), "recall": (1, "read", False), "remember": (2, "idempotent", False),
    "forget": (4, "irreversible", False), "find_skills": (1, "read", False), "read_skill": (1, "read", False),
    "run_skill": (2, "idempotent", False), "run_online_skill": (2, "effect", True),
}  # fmt: skip


async def test_every_tool_is_listed_with_its_risk_and_a_schema(web: RunningAtom) -> None:
    page = (await web.http.get("/api/tools")).json()
    assert page["next"] is None
    assert {tool["name"]: (tool["risk"], tool["effect"], tool["egress"]) for tool in page["items"]} == TOOLS
    for tool in page["items"]:
        Draft202012Validator.check_schema(tool["parameters"])
        assert tool["parameters"]["additionalProperties"] is False
        assert tool["description"]
        longest = 1_000 if tool["name"].startswith("run_") else 120  # a script has minutes of its own
        assert 0 < tool["timeout"] <= longest


async def test_the_model_in_use_is_told_with_the_reason_and_never_a_key(database: URL, home: Path) -> None:
    key = planted("OpenAI key of the settings", "sk-canary-1234567890")
    llm = LlmSettings(openai_api_key=SecretStr(key), anthropic_api_key=SecretStr("sk-ant-canary-123"))
    async with running_atom(settings_for_tests(home, llm=llm), database) as atom:
        answer = await atom.http.get("/api/models")
        assert (answer.json()["provider"], answer.json()["reason"]) == ("openai", "OPENAI_API_KEY is set")
        assert answer.json()["configured"] == ["openai", "anthropic", "local"]
        assert "canary" not in answer.text
        assert key not in answer.text
    local = settings_for_tests(home, llm=LlmSettings())
    async with running_atom(local, database, token=atom.token) as again:
        answer = await again.http.get("/api/models")
        assert (answer.json()["provider"], answer.json()["reason"]) == ("local", "no key is set")
        assert "It cannot reason, calculate" in answer.json()["note"]


async def test_a_model_that_cannot_answer_is_told_with_what_to_set(database: URL, home: Path) -> None:
    async with running_atom(settings_for_tests(home, llm=LlmSettings(provider=Provider.ANTHROPIC)), database) as atom:
        answer = await atom.http.get("/api/models")
        assert (answer.status_code, answer.json()["code"]) == (422, "llm_not_configured")
        assert answer.json()["detail"] == "ANTHROPIC_API_KEY is not set, and anthropic was chosen."
