"""What operators read about findings and refusals is all of them."""

import re
from pathlib import Path

from atom.skills.findings import Rule

PAGE = Path(__file__).parents[2] / "docs" / "operate" / "skills.md"


def test_every_rule_is_explained_and_no_other() -> None:
    table = PAGE.read_text("utf-8").partition("## Errors")[2].partition("## What is refused")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)) == sorted(Rule)
