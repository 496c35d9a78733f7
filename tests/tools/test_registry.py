"""Exact names, and arguments that fit the schema or go back with what is wrong and what is expected."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.errors import InternalError
from atom.governance.models import Action, EffectClass, Risk
from atom.tools.errors import ToolArgumentsError
from atom.tools.ports import Tool, ToolContext, ToolOutput
from atom.tools.registry import ToolRegistry, UnknownToolError


async def run(_: Mapping[str, Any], __: ToolContext) -> ToolOutput:
    return ToolOutput("ran")


def tool(name: str = "look", **schema: Any) -> Tool:
    parameters = {
        "type": "object",
        "properties": {
            "path": {"type": "string", "minLength": 1, "maxLength": 10},
            "line": {"type": "integer", "minimum": 1, "maximum": 9},
            "mode": {"enum": ["fast", "slow"]},
            "options": {"type": "object", "properties": {"deep": {"type": "boolean"}}, "additionalProperties": False},
        },
        "required": ["path"],
        "additionalProperties": False,
        **schema,
    }
    return Tool(Action(name, Risk.LOW, EffectClass.READ), "Looks.", parameters, 1.0, run)


LOOK = tool()
REGISTRY = ToolRegistry([LOOK, tool("other_tool")], max_argument_chars=500)


@pytest.mark.parametrize("text", ['{"path": "a"}', ' {"path":"a","line":3,"mode":"slow","options":{"deep":true}}\n'])
def test_fitting_arguments_are_returned(text: str) -> None:
    assert REGISTRY.check_arguments(LOOK, text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", r"path: is missing\. .*\"path\": string \(required\)"),
        ("", "path: is missing"),
        ('{"path": 3}', "path: is an integer, not string"),
        ('{"path": null}', "path: is null, not string"),
        ('{"path": ""}', "path: has 0 characters; at least 1"),
        ('{"path": "abcdefghijk"}', "path: has 11 characters; at most 10"),
        ('{"path": "a", "line": 0}', "line: 0 is below 1"),
        ('{"path": "a", "line": 10}', "line: 10 is above 9"),
        ('{"path": "a", "line": "3"}', "line: is a string, not integer"),
        ('{"path": "a", "line": true}', "line: is a boolean, not integer"),
        ('{"path": "a", "line": 1.5}', "line: is a number, not integer"),
        ('{"path": "a", "mode": "x"}', 'mode: is not one of "fast", "slow"'),
        ('{"path": "a", "file": "b"}', "file: is not an argument of this tool"),
        ('{"path": "a", "options": {"deep": 1}}', r"options\.deep: is an integer, not boolean"),
        ('{"path": "a", "options": {"x": 1}}', r"options\.x: is not an argument"),
        ('{"file": 1, "line": "x"}', r"path: is missing.*|line: is a string"),
        ("[]", "not a JSON object"),
        ('"path"', "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"path": "a"', "not JSON: .* column"),
        ("{'path': 'a'}", "not JSON"),
        ('{"path": "a"} {"path": "b"}', "not JSON: Extra data"),
        ("look(path='a')", "not JSON"),
        ('{"path": "a", "path": "b"}', "given twice"),
        ('{"path": NaN}', "NaN is not a JSON number"),
        ('{"path": "a", "line": 1e999}', "too large"),
        ('{"path": "a", "line": ' + "9" * 300 + "}", "too large"),
        ('{"path": "a\\u0000"}', "NUL"),
        ('{"path": "a\\ud800"}', "surrogate"),
        ('{"path\\udfff": "a"}', "surrogate"),
        ('{"path": "' + "x" * 500 + '"}', "have 512 characters.*at most 500"),
        ('{"path": ' + "[" * 240 + "]" * 240 + "}", "nested"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(text: str, says: str) -> None:
    with pytest.raises(ToolArgumentsError, match=says) as caught:
        REGISTRY.check_arguments(LOOK, text)
    assert str(caught.value).startswith("look: ")
    assert len(str(caught.value)) < 700


def test_bottomless_nesting_is_an_error_of_the_arguments() -> None:
    registry = ToolRegistry([LOOK])
    with pytest.raises(ToolArgumentsError, match="nested"):
        registry.check_arguments(LOOK, '{"path": ' + "[" * 100_000 + "]" * 100_000 + "}")


def test_message_never_repeats_a_huge_value() -> None:
    registry = ToolRegistry([LOOK])
    with pytest.raises(ToolArgumentsError) as caught:
        registry.check_arguments(
            LOOK, json.dumps({"path": ["secret" * 10_000], **{f"k{i}" * 100: 1 for i in range(99)}})
        )
    assert len(str(caught.value)) < 1500
    assert "secret" not in str(caught.value)


@given(
    st.text(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    ).map(json.dumps)
)
def test_any_text_gives_fitting_arguments_or_an_arguments_error(text: str) -> None:
    try:
        arguments = REGISTRY.check_arguments(LOOK, text)
    except ToolArgumentsError:
        return
    assert isinstance(arguments["path"], str)


@pytest.mark.parametrize("name", ["Look", "loo", "look ", "lok", "", "look\n", "x" * 5000])
def test_only_the_exact_name_finds_a_tool(name: str) -> None:
    assert REGISTRY.find(name) is None
    with pytest.raises(UnknownToolError, match=r"look, other_tool|Did you mean look") as caught:
        REGISTRY.get(name)
    assert len(str(caught.value)) < 300
    assert REGISTRY.get("look") is LOOK


def test_specs_show_the_granted_tools_only_in_a_stable_order() -> None:
    specs = REGISTRY.specs(["other_tool", "look", "look", "gone"])
    assert [spec.name for spec in specs] == ["look", "other_tool"]
    assert specs[0].parameters == LOOK.parameters
    assert REGISTRY.specs([]) == ()


@pytest.mark.parametrize(
    "tools",
    [
        [LOOK, LOOK],
        [tool("Bad-Name")],
        [tool(additionalProperties=True)],
        [tool(type="array")],
    ],
)
def test_tool_that_could_not_be_checked_is_refused_at_start(tools: list[Tool]) -> None:
    with pytest.raises(InternalError):
        ToolRegistry(tools)
