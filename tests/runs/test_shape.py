"""Answers that have to fit a JSON schema: checked, asked for again when they do not fit, kept as JSON."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.llm.testing import ScriptedModel
from atom.runs.errors import SchemaInvalidError
from atom.runs.shape import MAX_DEPTH, MAX_SCHEMA_CHARS, check_schema, misfit, shaped
from tests.runs.conftest import Start

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer", "minimum": 0}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"city": "Bonn"}', None),
        ('```json\n{"city": "Bonn"}\n```', None),
        ("Bonn", "not JSON"),
        ('Here: {"city": "Bonn"}', "not JSON"),
        ('{"city": 3}', "city: 3 is not of type 'string'"),
        ('{"people": 3}', "'city' is a required property"),
        ('{"city": "Bonn", "people": -1}', "people: -1 is less than"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_answer_fits_or_the_model_is_told_why_not(text: str, said: str | None) -> None:
    found = misfit(text, CITY)
    assert (found is None) if said is None else (found is not None and said in found), found


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_fits_is_json_as_the_caller_reads_it(value: object) -> None:
    text = json.dumps(value)
    assert misfit(text, {}) is None
    assert json.loads(shaped(f"```json\n{text}\n```" if "```" not in text else text)) == value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strange"},
        {"properties": []},
        {"required": "city"},
        {"description": "x" * MAX_SCHEMA_CHARS},
        json.loads('{"not":' * (MAX_DEPTH + 2) + "{}" + "}" * (MAX_DEPTH + 2)),
    ],
)
def test_schema_that_cannot_be_used_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaInvalidError) as caught:
        check_schema(schema)
    assert caught.value.details["field"] == "response_schema"


def test_no_document_is_fetched_and_no_pattern_is_run() -> None:
    """A reference goes nowhere, and an evil regular expression takes no time."""
    began = time.monotonic()
    assert misfit('{"a": 1}', {"$ref": "http://127.0.0.1:9/schema.json"}) is None
    assert misfit(json.dumps("a" * 50 + "!"), {"type": "string", "pattern": "^(a+)+$"}) is None
    assert time.monotonic() - began < 20


async def test_answer_is_asked_for_again_until_it_fits(start: Start) -> None:
    model = ScriptedModel("Bonn, of course.", '{"city": 7}', '```json\n{"city": "Bonn"}\n```')
    async with start(model=model) as atom:
        await atom.agent()
        run = await atom.done("worker", "Which?", response_schema=CITY)
    assert (run["status"], run["answer"]) == ("completed", '{"city": "Bonn"}')
    assert all(request.response_schema == CITY for request in model.asked)
    assert '"city"' in model.asked[0].messages[0].content
    again = model.asked[2].messages[-1].content
    assert "city: 7 is not of type 'string'" in again


async def test_answer_that_never_fits_fails_the_run(start: Start) -> None:
    async with start(*["no"] * 10) as atom:
        await atom.agent()
        run = await atom.done("worker", "Which?", response_schema=CITY)
    assert (run["status"], run["error"]["code"]) == ("failed", "model_misbehaved")


async def test_bad_schema_is_refused_at_the_door(start: Start) -> None:
    async with start() as atom:
        await atom.agent()
        answer = await atom.http.post("/api/agents/worker/runs", json={"task": "t", "response_schema": {"type": "x"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "response_schema_invalid")
