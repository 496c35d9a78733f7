"""The set of built-in tools, as models and governance see it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import pytest
from jsonschema import Draft202012Validator

from atom.governance.models import Action, EffectClass, Risk
from atom.kit.clock import FrozenClock
from atom.settings import ToolSettings
from atom.tools.builtin import builtin_tools
from atom.tools.http import tool_egress
from atom.tools.memory import MemoryDesk, memory_tools
from atom.tools.ports import Tool, ToolContext, ToolOutput
from atom.tools.registry import ToolRegistry

if TYPE_CHECKING:
    from atom.infra.db import Sessions


async def found_nothing(_: Mapping[str, Any], __: ToolContext) -> ToolOutput:
    return ToolOutput("nothing")


SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}
SEARCH = Tool(Action("search_text", Risk.LOW, EffectClass.READ), "Search the files.", SCHEMA, 10.0, found_nothing)
SETTINGS = ToolSettings()
DESK = MemoryDesk(cast("Sessions", None), FrozenClock())  # nothing is looked up here
TOOLS = builtin_tools(
    SETTINGS, clock=FrozenClock(), egress=tool_egress(SETTINGS), search_text=SEARCH, desks=memory_tools(DESK)
)


def test_set_is_exactly_the_built_in_tools() -> None:
    assert ToolRegistry(TOOLS).names == (
        "calculate", "call_agent", "current_time", "delete_file", "forget", "http_get", "list_files", "read_file",
        "recall", "remember", "search_text", "write_file",
    )  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_argument_is_described_and_every_call_is_bounded(tool: Tool) -> None:
    Draft202012Validator.check_schema(tool.parameters)
    assert tool.parameters["additionalProperties"] is False
    assert all(schema["description"] for schema in tool.parameters["properties"].values())
    assert 0 < tool.timeout <= 125
    assert tool.description


def test_only_http_get_can_carry_bytes_out() -> None:
    assert [tool.name for tool in TOOLS if tool.action.egress] == ["http_get"]


def test_only_writing_and_deleting_may_not_be_repeated() -> None:
    assert [tool.name for tool in TOOLS if not tool.action.effect.repeatable] == ["write_file", "delete_file", "forget"]
