"""Every action there is, by its exact name. What is not registered here is denied."""

import re
from collections.abc import Iterable, Iterator, Mapping

from atom.errors import InternalError
from atom.governance.models import Action, EffectClass, Label, Risk

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,127}")
MAX_ACTIONS = 10_000


class ActionRegistry(Mapping[str, Action]):
    """Filled while a process is wired. Names are exact: no case folding, no prefix, no guess; ASCII only, so that two
    names that look alike are alike."""

    def __init__(self, actions: Iterable[Action] = ()) -> None:
        self._actions: dict[str, Action] = {}
        self._folded: set[str] = set()
        for action in actions:
            self.register(action)

    def register(self, action: Action) -> None:
        """Raises InternalError: an action that is declared wrongly is a bug of who registers it."""
        if not NAME.fullmatch(action.name):
            raise InternalError(
                f"Action name {action.name!r}: begins with a letter, then letters, digits and any of _ . : / -"
            )
        if action.name.casefold() in self._folded:
            raise InternalError(f"Action name {action.name!r} is taken; names differ in more than case.")
        if action.risk not in set(Risk) or action.effect not in set(EffectClass):
            raise InternalError(f"Action {action.name}: its risk or effect class is none that there is.")
        if not (action.reads or action.inherits) or not action.reads <= set(Label):
            raise InternalError(f"Action {action.name}: say what it reads, by at least one label.")
        if len(self._actions) >= MAX_ACTIONS:
            raise InternalError(f"More than {MAX_ACTIONS} actions.")
        self._actions[action.name] = action
        self._folded.add(action.name.casefold())

    def __getitem__(self, name: str) -> Action:
        return self._actions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._actions)

    def __len__(self) -> int:
        return len(self._actions)

    def page(self, *, after: str | None, limit: int) -> list[Action]:
        """By name."""
        names = sorted(name for name in self._actions if after is None or name > after)
        return [self._actions[name] for name in names[:limit]]
