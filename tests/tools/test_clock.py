"""The time comes from the clock that is given, in the zone that is asked for."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from atom.kit.clock import FrozenClock
from atom.kit.ids import new_id
from atom.tools.clock import current_time_tool
from atom.tools.errors import ToolArgumentsError
from atom.tools.ports import ToolContext

CLOCK = FrozenClock(datetime(2026, 7, 1, 22, 30, tzinfo=UTC))
CONTEXT = ToolContext(new_id(), new_id(), Path("unused"), "key")


async def test_time_is_utc_unless_asked_otherwise() -> None:
    assert (await current_time_tool(CLOCK).run({}, CONTEXT)).content == "2026-07-01T22:30:00.000Z (Wednesday, UTC)"


async def test_time_in_a_zone_has_that_zones_day() -> None:
    output = await current_time_tool(CLOCK).run({"timezone": "Europe/Berlin"}, CONTEXT)
    assert output.content.startswith("2026-07-02T00:30:00+02:00 (Thursday, Europe/Berlin, CEST); 2026-07-01T22:30")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Europe/Berln", "Did you mean Europe/Berlin"),
        ("America", "Expected|Did you mean"),
        ("../../etc/passwd", "Expected"),
        ("/etc/localtime", "is not a known time zone"),
        ("a\0b", "Expected"),
    ],
)
async def test_unknown_zone_is_refused_with_the_nearest_name(name: str, says: str) -> None:
    with pytest.raises(ToolArgumentsError, match=says):
        await current_time_tool(CLOCK).run({"timezone": name}, CONTEXT)
