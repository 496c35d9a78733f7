"""Rules of the registry that need no database."""

import pytest

from atom.governance.models import Risk
from atom.skills.registry.capabilities import declared, difference, file_difference
from atom.skills.registry.errors import SkillStatusError
from atom.skills.registry.models import Status
from atom.skills.registry.transitions import Move, moved

Q, AP, AC, D, R = Status.QUARANTINED, Status.APPROVED, Status.ACTIVE, Status.DISABLED, Status.RETIRED
TABLE = {
    Move.APPROVE: {Q: AP},
    Move.ACTIVATE: {AP: AC, AC: AC, D: AC},
    Move.DISABLE: {AP: D, AC: D, D: D},
    Move.RETIRE: {Q: R, AP: R, AC: R, D: R, R: R},
}


@pytest.mark.parametrize("move", Move)
@pytest.mark.parametrize("status", Status)
def test_a_status_moves_as_the_table_says(status: Status, move: Move) -> None:
    wanted = TABLE[move].get(status)
    if wanted is None:
        with pytest.raises(SkillStatusError):
            moved(status, move)
    else:
        assert moved(status, move) is wanted


def test_capabilities_have_one_hash_for_one_meaning() -> None:
    one = declared({"atom": {"b": ["x", "y"], "a": {"n": 1}}})
    assert one.digest == declared({"other": 1, "atom": {"a": {"n": 1}, "b": ["x", "y"]}}).digest
    assert one.digest != declared({"atom": {"a": {"n": 1}, "b": ["y", "x"]}}).digest
    assert one.digest != declared({"atom": {"a": {"n": "1"}, "b": ["x", "y"]}}).digest
    assert declared({}).digest == declared({"atom": None}).digest == declared({"atom": {}}).digest
    assert declared({"atom": "network"}).value == {"declared": "network"}


@pytest.mark.parametrize(
    ("value", "risk"),
    [
        ({}, Risk.CRITICAL), ({"risk": "low"}, Risk.LOW), ({"risk": 2}, Risk.MODERATE), ({"risk": " High "}, Risk.HIGH),
        ({"risk": "none"}, Risk.CRITICAL), ({"risk": 0}, Risk.CRITICAL), ({"risk": True}, Risk.CRITICAL),
        ({"risk": ["low"]}, Risk.CRITICAL), ("low", Risk.CRITICAL),
    ],
)  # fmt: skip
def test_a_risk_that_nobody_declared_is_critical(value: object, risk: Risk) -> None:
    assert declared({"atom": value}).risk is risk


def test_every_difference_of_capabilities_is_shown() -> None:
    old = {"network": {"hosts": ["a"]}, "same": 1, "gone": "x"}
    new = {"network": {"hosts": ["a", "b"]}, "same": 1, "secrets": {"K": True}}
    assert difference(old, new) == [
        '- gone: "x"', '- network.hosts: ["a"]', '+ network.hosts: ["a","b"]', "+ secrets.K: true",
    ]  # fmt: skip
    assert difference(old, old) == []
    assert difference({"a.b": 1}, {"a": {"b": 1}}) != []
    assert difference({"a": "x" * 5000 + "1"}, {"a": "x" * 5000 + "2"}) != []
    assert difference({"a": {}}, {}) == ["- a: {}"]


def test_files_that_came_went_or_changed_are_shown() -> None:
    def file(path: str, sha256: str, *, executable: bool = False) -> dict[str, object]:
        return {"path": path, "sha256": sha256, "executable": executable}

    old = [file("a", "1"), file("b", "1"), file("c", "1"), file("d", "1")]
    new = [file("a", "1"), file("b", "2"), file("c", "1", executable=True), file("e", "1")]
    assert file_difference(old, new) == ["~ b", "~ c", "- d", "+ e"]
