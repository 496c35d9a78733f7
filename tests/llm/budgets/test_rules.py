"""Which limits a call falls under, and the windows they count in."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from atom.llm.access import KeyInfo
from atom.llm.budgets.models import Scope, Unit, Window
from atom.llm.budgets.rules import Blocked, Room, blocked, needs, window_end, window_key
from atom.llm.catalogue import Estimate
from atom.llm.routes import Budget, Route
from atom.settings import Provider

IDS = [UUID(int=number) for number in range(1, 5)]
RUN = UUID(int=77)
ids = st.sampled_from(IDS)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(2000, 1, 2), datetime(2100, 1, 1), timezones=zones)  # noqa: DTZ001 - zones are drawn
windows = st.sampled_from([Window.DAY, Window.MONTH])


@st.composite
def budgets(draw: st.DrawFn) -> list[Budget]:
    found = []
    for id_ in draw(st.lists(st.uuids(), unique=True, max_size=8)):
        scope = draw(st.sampled_from(Scope))
        subject = None if scope is Scope.DEPLOYMENT else draw(ids)
        unit, window = draw(st.sampled_from(Unit)), draw(st.sampled_from(Window))
        found.append(Budget(id_, scope, subject, unit, window, Decimal(1)))
    return found


@given(budgets(), ids, st.none() | ids, moments, st.none() | st.decimals(0, 100, places=6))
def test_each_limit_of_the_deployment_the_agent_and_the_key_is_needed_and_no_other(
    limits: list[Budget], agent: UUID, key: UUID | None, now: datetime, usd: Decimal | None
) -> None:
    route = Route(Provider.OPENAI, "m", KeyInfo(Provider.OPENAI, id=key))
    found = needs(limits, run_id=RUN, agent_id=agent, route=route, estimate=Estimate(123, usd), now=now)
    wanted = {
        limit.id
        for limit in limits
        if {Scope.DEPLOYMENT: True, Scope.AGENT: limit.subject == agent, Scope.KEY: limit.subject == key}[
            Scope(limit.scope)
        ]
    }
    assert {need.budget.id for need in found} == wanted
    assert [need.budget.id for need in found] == sorted(wanted)  # everybody locks in one order
    assert all(need.amount == (123 if need.budget.unit == Unit.TOKENS else usd) for need in found)
    assert all((need.window_key == str(RUN)) == (need.budget.window == Window.RUN) for need in found)


@given(moments, windows)
def test_a_window_ends_in_the_future_and_the_next_begins_there(now: datetime, window: Window) -> None:
    end = window_end(window, now)
    assert end is not None
    assert now < end <= now + timedelta(days=1 if window is Window.DAY else 31)
    assert (end.hour, end.minute, end.second, end.microsecond) == (0, 0, 0, 0)
    assert window_key(window, RUN, end) != window_key(window, RUN, now)
    assert window_key(window, RUN, end - timedelta(microseconds=1)) == window_key(window, RUN, now)


@given(moments, windows)
def test_a_window_is_that_of_utc_wherever_the_clock_stands(now: datetime, window: Window) -> None:
    assert window_key(window, RUN, now) == window_key(window, RUN, now.astimezone(UTC))
    assert window_end(window, now) == window_end(window, now.astimezone(UTC))


def test_a_limit_of_each_run_has_no_end_and_counts_by_the_run() -> None:
    now = datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)
    assert window_end(Window.RUN, now) is None
    assert window_key(Window.RUN, RUN, now) == str(RUN)
    assert window_key(Window.DAY, RUN, now) == "2026-03-31"
    assert window_key(Window.MONTH, RUN, now) == "2026-03"
    assert window_end(Window.MONTH, datetime(2026, 12, 31, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)


amounts = st.decimals(0, 1000, places=2)


@given(amounts, amounts, amounts, amounts)
def test_only_what_calls_in_progress_hold_back_is_worth_trying_again_soon(
    amount: Decimal, used: Decimal, reserved: Decimal, need: Decimal
) -> None:
    why = blocked(Room(amount, used, reserved), need)
    assert (why is Blocked.RESERVED) == (used + need <= amount)  # it fits when all of them have ended for nothing
    assert (why is Blocked.TOO_SMALL) == (need > amount)  # no window is large enough
