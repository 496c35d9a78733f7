"""The tools that ship with Atom."""

from collections.abc import Sequence

from atom.infra.egress import EgressClient
from atom.kit.clock import Clock
from atom.settings import ToolSettings
from atom.tools.calculate import calculate_tool
from atom.tools.call_agent import call_agent_tool
from atom.tools.clock import current_time_tool
from atom.tools.files import delete_file_tool, list_files_tool, read_file_tool, write_file_tool
from atom.tools.http import http_get_tool
from atom.tools.ports import Tool


def builtin_tools(
    settings: ToolSettings, *, clock: Clock, egress: EgressClient, search_text: Tool, desks: Sequence[Tool]
) -> tuple[Tool, ...]:
    """Every built-in tool. `search_text` and those of `desks` (memory, skills) come from the composition root."""
    return (
        list_files_tool(),
        read_file_tool(settings),
        search_text,
        write_file_tool(settings),
        delete_file_tool(),
        http_get_tool(settings, egress),
        current_time_tool(clock),
        calculate_tool(),
        call_agent_tool(),
        *desks,
    )
