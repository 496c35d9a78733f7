"""What a person reads is in the order in which it happened, though deltas travel ahead of events."""

from hypothesis import given
from hypothesis import strategies as st

from atom.client.models import Delta, Event
from atom.client.order import Order

AT = "2026-01-01T00:00:00.000Z"


def delta(step: str, text: str = "x") -> Delta:
    return Delta(run_id="r", step=step, attempt=1, offset=0, text=text)


def event(type_: str, **data: object) -> Event:
    return Event.model_validate({"seq": 1, "id": "e", "type": type_, "at": AT, "actor": "a", "data": data})


def a_run(turns: int, calls: int) -> list[Event | Delta]:
    """A run as it happens: each turn speaks, replies, and each but the last calls tools."""
    items: list[Event | Delta] = [event("run.queued"), event("run.started")]
    for turn in range(turns):
        items.append(delta(f"turn-{turn}", f"said {turn}"))
        asked = calls if turn < turns - 1 else 0
        items.append(event("model.replied", step=f"turn-{turn}", tool_calls=[{}] * asked))
        for _ in range(asked):
            items += [event("tool.requested"), event("tool.finished")]
    return [*items, event("run.completed")]


@given(st.integers(1, 4), st.integers(1, 3), st.data())
def test_deltas_that_come_early_are_shown_in_their_place(turns: int, calls: int, data: st.DataObject) -> None:
    happened = a_run(turns, calls)
    events = [item for item in happened if isinstance(item, Event)]
    arrived: list[Event | Delta] = list(events)
    for item in happened:
        if isinstance(item, Delta):
            before = happened[: happened.index(item)]
            latest = sum(isinstance(one, Event) for one in before)
            arrived.insert(arrived.index(events[data.draw(st.integers(0, latest))]), item)
    order = Order()
    shown: list[Event | Delta] = []
    for item in arrived:
        if isinstance(item, Event):
            shown.append(item)
        shown += order.take(item) if isinstance(item, Delta) else order.happened(item)
    assert [one.text if isinstance(one, Delta) else one.type for one in shown] == [
        one.text if isinstance(one, Delta) else one.type for one in happened
    ]
    assert order.held == []


def test_a_late_delta_and_a_step_of_an_unknown_kind_are_not_held() -> None:
    order = Order()
    order.happened(event("run.started"))
    order.happened(event("model.replied", tool_calls=[{}]))
    assert order.take(delta("turn-0")) == [delta("turn-0")]
    assert order.take(delta("plan")) == [delta("plan")]
    assert order.take(delta("turn-1")) == []
