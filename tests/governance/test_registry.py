"""Names are exact and there is one action for each; what is not registered does not exist."""

import pytest

from atom.errors import InternalError
from atom.governance.models import Action, EffectClass, Label, Risk
from atom.governance.registry import ActionRegistry

ACT = Action("act", Risk.LOW, EffectClass.READ)


def test_it_knows_exact_names_only() -> None:
    registry = ActionRegistry([ACT, Action("act_2", Risk.HIGH, EffectClass.EFFECT)])
    assert registry.get("act") is ACT
    for name in ("ac", "ACT", "act ", "act_", "act_22", "\u0430ct", "act\x00", ""):
        assert registry.get(name) is None
    assert [one.name for one in registry.page(after=None, limit=1)] == ["act"]
    assert [one.name for one in registry.page(after="act", limit=9)] == ["act_2"]


@pytest.mark.parametrize(
    "action",
    [
        Action("act", Risk.HIGH, EffectClass.READ),
        Action("ACT", Risk.LOW, EffectClass.READ),
        Action("", Risk.LOW, EffectClass.READ),
        Action("a b", Risk.LOW, EffectClass.READ),
        Action("\u0430ct", Risk.LOW, EffectClass.READ),
        Action("x" * 129, Risk.LOW, EffectClass.READ),
        Action("none", Risk.LOW, EffectClass.READ, reads=frozenset()),
        Action("odd", 7, EffectClass.READ),  # type: ignore[arg-type]
        Action("odd", Risk.LOW, "write"),  # type: ignore[arg-type]
        Action("odd", Risk.LOW, EffectClass.READ, reads=frozenset({Label.TRUSTED, "x"})),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_declaration_is_not_taken(action: Action) -> None:
    registry = ActionRegistry([ACT])
    with pytest.raises(InternalError):
        registry.register(action)
    assert dict(registry) == {"act": ACT}
