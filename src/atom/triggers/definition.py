"""What a trigger's definition may say, by kind. Pure, except that names of agents become ids elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from atom.events.models import Event, EventType
from atom.kit.ids import parse_id
from atom.kit.text import clean_json
from atom.triggers import schedule
from atom.triggers.errors import TriggerInvalidError
from atom.triggers.models import TriggerKind

LISTENED = frozenset(
    {
        EventType.RUN_WAITING,
        EventType.RUN_PAUSED,
        EventType.RUN_COMPLETED,
        EventType.RUN_FAILED,
        EventType.RUN_CANCELLED,
        EventType.APPROVAL_REQUESTED,
        EventType.APPROVAL_DECIDED,
        EventType.REVIEW_DECIDED,
        EventType.AGENT_CREATED,
        EventType.AGENT_CHANGED,
        EventType.JOB_CHANGED,
        EventType.KEY_REFUSED,
        EventType.BUDGET_CHANGED,
        EventType.HALT_LIFTED,
    }
)  # fmt: skip - none of them is written by a trigger itself, and none comes with every step of a run
MAX_TYPES = 10
MAX_WHERE = 10
MAX_VALUE = 200
FIELDS = {
    TriggerKind.SCHEDULE: frozenset({"cron", "timezone", "every", "jitter"}),
    TriggerKind.WEBHOOK: frozenset[str](),
    TriggerKind.EVENT: frozenset({"types", "agent", "where"}),
    TriggerKind.AGENT: frozenset({"agent", "where"}),
}
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Listening:
    """Events that fire a trigger: of one of `types`, of `agent_id` if given, with these values in their data."""

    types: tuple[str, ...]
    agent_id: UUID | None = None
    where: Mapping[str, Scalar] | None = None

    def hears(self, event: Event) -> bool:
        if event.type not in self.types or (self.agent_id is not None and event.agent_id != self.agent_id):
            return False
        return all(_at(event.data, path) == wanted for path, wanted in (self.where or {}).items())


def check(kind: TriggerKind, definition: Mapping[str, Any]) -> dict[str, Any]:
    """As it is stored. Raises TriggerInvalidError."""
    unknown = sorted(set(definition) - FIELDS[kind])
    if unknown:
        known = ", ".join(sorted(FIELDS[kind])) or "none"
        raise TriggerInvalidError(
            f"definition: a {kind} has no {unknown[0][:60]!r}.", hint=f"There are: {known}.", field="definition"
        )
    given: dict[str, Any] = clean_json({name: value for name, value in definition.items() if value is not None})
    if kind is TriggerKind.SCHEDULE:
        schedule.parse(given)
    if kind in {TriggerKind.EVENT, TriggerKind.AGENT}:
        listening(kind, given)
    return given


def listening(kind: TriggerKind, definition: Mapping[str, Any]) -> Listening:
    """What an event trigger listens to; an agent trigger listens to the answers of `agent`."""
    given = definition.get("agent")
    agent_id = None if given is None else parse_id(str(given))
    if agent_id is None and (given is not None or kind is TriggerKind.AGENT):
        raise TriggerInvalidError("definition.agent: it names no agent.", field="definition.agent")
    where = _where(definition.get("where", {}))
    if kind is TriggerKind.AGENT:
        return Listening((EventType.RUN_COMPLETED.value,), agent_id, where)
    types = definition.get("types")
    if not isinstance(types, list) or not 0 < len(types) <= MAX_TYPES:
        raise TriggerInvalidError(f"definition.types: a list of 1 to {MAX_TYPES} events.", field="definition.types")
    for name in types:
        if not isinstance(name, str) or name not in {one.value for one in LISTENED}:
            known = ", ".join(sorted(one.value for one in LISTENED))
            raise TriggerInvalidError(
                f"definition.types: {str(name)[:60]!r} fires nothing.", hint=f"There are: {known}.", field="definition"
            )
    return Listening(tuple(types), agent_id, where)


def _where(given: object) -> dict[str, Scalar]:
    if not isinstance(given, dict) or len(given) > MAX_WHERE:
        raise TriggerInvalidError(f"definition.where: at most {MAX_WHERE} names with values.", field="definition.where")
    for name, value in given.items():
        plain = value is None or isinstance(value, str | int | float | bool)
        if not plain or len(str(name)) > MAX_VALUE or len(str(value)) > MAX_VALUE:
            raise TriggerInvalidError(
                f"definition.where: {str(name)[:60]!r} is to be compared with a text, a number, true or false.",
                field="definition.where",
            )
    return dict(given)


def _at(data: Mapping[str, Any], path: str) -> Any:
    """`error.code` of nested data; None where there is nothing."""
    found: Any = data
    for name in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found
