"""Documents: links lead somewhere, names exist, credentials and traces of one machine are found."""

from pathlib import Path

import pytest

from scripts.house import docs, secrets
from scripts.house.tree import Source, text_files

KNOWN = docs.Known({"ATOM_HOME", "ATOM_LLM__TIMEOUT"}, {"up", "runs", "runs list"}, {"atom_llm_seconds"})


def found(root: Path, text: str, name: str = "docs/page.md") -> list[str]:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, "utf-8")
    problems = docs.check(root, text_files(root), KNOWN)
    return [problem.message for problem in problems if problem.path == name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a](missing.md)", "leads nowhere"),
        ("[a](#nothing)", "no title #nothing"),
        ("# One\n\n[a](page.md#two)", "no title #two"),
        ("Set `ATOM_LLM__TIMEOUTS` to 60.", "is not a setting"),
        ("Run `atom frobnicate now`.", "no command `atom frobnicate`"),
        ("```bash\natom runs destroy\n```", "no command `atom runs destroy`"),
        ('```bash\neval "$(atom enf)"\n```', "no command `atom enf`"),
        ("```bash\njq . x | atom sink\n```", "no command `atom sink`"),
        ("Watch `atom_queue_seconds`.", "no metric atom_queue_seconds"),
        ("As findings" + ".md says", "means nothing"),
        ("What is D" + "B-1?", "means nothing"),
        ("See iss" + "ue #4", "means nothing"),
    ],
)
def test_a_dead_link_or_name_is_found(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in one for one in found(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "# One & two: `x`\n\n[a](#one--two-x) [b](page.md) [c](https://example.com) ![d](later.png)",
        "```bash\n# not a title\npsql -U atom -d atom -c 'SELECT 1;'\nkubectl scale deployment atom --replicas=0\n```",
        "`atom up`, `atom runs list --json`, `ATOM_HOME`, `ATOM_LLM__TIMEOUT`, `ATOM_*`",
        "`atom_llm_seconds_bucket`, `createdb atom_restored`",
    ],
)
def test_good_documents_pass(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []


def test_metrics_are_those_that_the_code_names() -> None:
    code = Source("src/atom/llm/metrics.py", 'Histogram("atom_llm_seconds", "...")')
    assert docs.metrics([code, Source("docs/x.md", "atom_fly_total")]) == {"atom_llm_seconds"}


def test_a_later_section_may_name_what_is_not_there_yet_and_ends_at_the_next_title(tmp_path: Path) -> None:
    later = f"## A\n\n> {docs.LATER}.\n\n`atom fly`\n"
    assert found(tmp_path, later) == []
    assert found(tmp_path, later + "\n**Step 2: land**\n`atom land`\n") == ["there is no command `atom land`"]


@pytest.mark.parametrize(
    "line",
    [
        "-----BEGIN RSA PRIVATE" + " KEY-----",
        "key = sk-" + "ant-api03-" + "q7" * 20,
        "AKIA" + "Q3" * 8,
        "ghp" + "_" + "a1B2" * 9,
        "--extra-index" + "-url https://packages.example.com/simple",
        "https://pypi" + ".org/project/atom",
        "cd /wor" + "k/main",
        "cat /roo" + "t/notes.txt",
    ],
)
def test_credentials_registries_and_machine_paths_are_found(line: str) -> None:
    assert len(secrets.check([Source("docs/page.md", line)])) >= 1


@pytest.mark.parametrize(
    "line",
    [
        "sk-test-0000000000000000000000000000000000000000",
        "-----BEGIN CERTIFICATE-----",
        "/api/work/",
        "/root/.ssh/id",
        "$HOME/work/x",
    ],
)
def test_fakes_and_other_paths_pass(line: str) -> None:
    assert secrets.check([Source("docs/page.md", line)]) == []
