"""Files become lines that keep their number and text, and know what they stand under."""

from hypothesis import given
from hypothesis import strategies as st

from atom.retrieval.lines import LineKind, LogicalLine
from atom.retrieval.split import logical_lines

GUIDE = """# Guide

### Pool
Do this:
```bash
# Increase the pool
# in the config
pool_size = 20

sudo systemctl restart atom
# Expected: done

kubectl set resources atom \\
  --limits=memory=4Gi
```
**Step 2: Rest**
- Wait a moment
"""


def by_text(text: str, path: str) -> dict[str, LogicalLine]:
    return {line.text.strip(): line for line in logical_lines(text, path)}


def test_a_line_in_a_code_block_stands_under_its_headings_and_comment() -> None:
    line = by_text(GUIDE, "guide.md")["pool_size = 20"]
    assert (line.number, line.kind) == (8, LineKind.SETTING)
    assert (line.headings, line.lead) == (("Guide", "Pool"), "Increase the pool. in the config")


def test_a_blank_line_ends_what_a_comment_says_and_the_introduction_remains() -> None:
    assert by_text(GUIDE, "guide.md")["sudo systemctl restart atom"].lead == "Do this"


def test_a_comment_announces_what_is_below_it_unless_it_closes_a_command() -> None:
    lines = by_text(GUIDE, "guide.md")
    assert lines["# Increase the pool"].announces
    assert not lines["# Expected: done"].announces


def test_a_continued_command_knows_its_first_line() -> None:
    line = by_text(GUIDE, "guide.md")["--limits=memory=4Gi"]
    assert (line.kind, line.lead) == (LineKind.COMMAND, "Do this: kubectl set resources atom")


def test_a_bold_line_is_the_deepest_heading() -> None:
    assert by_text(GUIDE, "guide.md")["- Wait a moment"].headings == ("Guide", "Pool", "Step 2: Rest")


def test_code_stands_under_what_it_is_indented_below() -> None:
    code = "class Pool:\n    def size(self):\n        # as the guide says\n        return 20\n"
    line = by_text(code, "pool.py")["return 20"]
    assert (line.headings, line.lead) == (("class Pool:", "def size(self):"), "as the guide says")


def test_a_row_of_a_table_stands_under_the_names_of_its_columns() -> None:
    assert by_text("name,limit\npool,20\n", "limits.csv")["pool,20"].lead == "name,limit"


def test_a_heading_of_many_blanks_costs_no_time() -> None:
    assert len(logical_lines("# " + " " * 200_000 + "word\n" * 3, "a.md")) == 3


@given(st.text(max_size=600), st.sampled_from(["a.md", "a.txt", "a.py", "a.sh", "a.csv", "a.sql", "a"]))
def test_every_line_is_verbatim_at_its_number(text: str, path: str) -> None:
    physical = text.split("\n")
    lines = logical_lines(text, path)
    assert [line.number for line in lines] == sorted({line.number for line in lines})
    assert all(line.text == physical[line.number - 1].rstrip("\r") for line in lines)
