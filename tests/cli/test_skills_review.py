"""What a person reads before they consent is all of it, and cannot act on their terminal."""

from typing import Any

from atom.cli.skills_review import MOST, review_text
from atom.client.skills import SkillVersion

DIGEST = "sha256:" + "1" * 64


def version(**fields: Any) -> SkillVersion:
    named = {"name": "report", "version": 2, "digest": DIGEST, "status": "quarantined", "capabilities_digest": DIGEST}
    return SkillVersion.model_validate({**named, **fields})


def finding(severity: str, message: str = "m", *, mended: bool = False) -> dict[str, Any]:
    return {"id": "x", "severity": severity, "file": "a.py", "line": 3, "message": message, "mended": mended}


def test_what_stands_in_the_way_comes_first_and_hints_are_left_out() -> None:
    found = [finding("info", "i"), finding("warning", "w"), finding("error", "m", mended=True), finding("error", "e")]
    lines = [line for line in review_text(version(findings=found, approvable=False)).splitlines() if "a.py:3" in line]
    assert [line.strip() for line in lines] == [
        "a.py:3: error: e [x]", "a.py:3: warning: w [x]", "a.py:3: error, mended: m [x]",
    ]  # fmt: skip
    assert "it cannot be approved" in review_text(version(approvable=False))


def test_a_severity_of_a_later_server_breaks_nothing() -> None:
    assert "a.py" not in review_text(version(findings=[finding("fatal")]))


def test_no_capability_and_no_change_of_one_is_left_out() -> None:
    many = {f"host{number:03}": "x" * 2000 + f"{number:03}" for number in range(3 * MOST)}
    lines = [f"+ {name}: {value}" for name, value in many.items()]
    changes = {"version": 1, "digest": DIGEST, "capabilities": lines, "files": [f"~ f{n}" for n in range(3 * MOST)]}
    text = review_text(version(capabilities=many, changes=changes))
    assert all(f"{name}: " in text and text.count(value) == 2 for name, value in many.items())
    assert f"... and {2 * MOST} more" in text


def test_nothing_of_a_skill_acts_on_the_terminal() -> None:
    evil = "a\x1b[2Jb\u202ec\nhash         sha256:forged"
    changes = {"version": 1, "digest": DIGEST, "capabilities": [evil], "files": [evil]}
    fields = {"description": evil, "capabilities": {evil: evil}, "findings": [finding("error", evil)]}
    text = review_text(version(**fields, changes=changes))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert [line for line in text.splitlines() if line.startswith("hash")] == [f"hash         {DIGEST}"]
