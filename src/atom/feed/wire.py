"""Items as they go over the wire: the same envelope in server-sent events and in WebSocket frames."""

import json
from typing import Any

from atom.events.models import Event
from atom.feed.stream import Heartbeat, Item
from atom.runs.ports import Delta


def server_sent(item: Item) -> bytes:
    """Durable events carry their `seq` as the id to resume from; deltas have none, they are never sent again."""
    if isinstance(item, Heartbeat):
        return b": heartbeat\n\n"
    if isinstance(item, Delta):
        return f"event: delta\ndata: {json.dumps(_delta(item))}\n\n".encode()
    return f"id: {item.seq}\nevent: {item.type}\ndata: {json.dumps(item.envelope())}\n\n".encode()


def frame(item: Event | Delta) -> str:
    return json.dumps(item.envelope() if isinstance(item, Event) else {"type": "delta", **_delta(item)})


def _delta(delta: Delta) -> dict[str, Any]:
    return {
        "run_id": str(delta.run_id),
        "step": delta.step,
        "attempt": delta.attempt,
        "offset": delta.offset,
        "text": delta.text,
    }
