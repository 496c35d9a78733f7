"""The tool that tells the time."""

import difflib
import zoneinfo
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from atom.governance.models import Action, EffectClass, Risk
from atom.kit.clock import Clock, rfc3339
from atom.tools.errors import ToolArgumentsError
from atom.tools.ports import Tool, ToolContext, ToolOutput

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def current_time_tool(clock: Clock) -> Tool:
    async def run(arguments: Mapping[str, Any], _: ToolContext) -> ToolOutput:
        now = clock.now().astimezone(UTC)
        text = f"{rfc3339(now)} ({DAYS[now.weekday()]}, UTC)"
        if (name := arguments.get("timezone")) is not None:
            there = now.astimezone(_zone(name))
            text = f"{there.isoformat(timespec='seconds')} ({DAYS[there.weekday()]}, {name}, {there.tzname()}); {text}"
        return ToolOutput(text, data={"utc": rfc3339(now)})

    return Tool(
        action=Action("current_time", Risk.LOW, EffectClass.READ),
        description="The current date, time and day of the week, in UTC and, if you ask, in a time zone.",
        parameters={
            "type": "object",
            "properties": {
                "timezone": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 64,
                    "description": "IANA name such as 'Europe/Berlin' or 'America/New_York'. Leave it out for UTC.",
                }
            },
            "additionalProperties": False,
        },
        timeout=5.0,
        run=run,
    )


def _zone(name: str) -> zoneinfo.ZoneInfo:
    """Only names from the list: `ZoneInfo` itself would try any other as a path."""
    known = zoneinfo.available_timezones()
    if name in known:
        return zoneinfo.ZoneInfo(name)
    near = difflib.get_close_matches(name, sorted(known), n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Expected: an IANA name such as 'Europe/Berlin' or 'UTC'."
    raise ToolArgumentsError(f"timezone: {name!r} is not a known time zone.", hint=hint)
