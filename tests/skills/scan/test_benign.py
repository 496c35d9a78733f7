"""What only looks like an attack is not told as one."""

import pytest

from tests.skills.scan.benign import BENIGN
from tests.skills.scan.scanning import scanned, serious


def test_there_are_enough_of_them() -> None:
    assert len(BENIGN) >= 60


@pytest.mark.parametrize("name", BENIGN)
def test_a_good_skill_has_no_warning(name: str) -> None:
    assert [str(one) for one in serious(scanned(BENIGN[name]))] == []
