"""The file tools say exactly what a model needs: lines with their place, bounds, and what to do next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from atom.governance.models import EffectClass, Risk
from atom.kit.ids import new_id
from atom.settings import ToolSettings
from atom.tools.errors import OutsideWorkspaceError, ToolArgumentsError, ToolError
from atom.tools.files import delete_file_tool, list_files_tool, read_file_tool, write_file_tool
from atom.tools.ports import SourceLine, Tool, ToolContext, ToolOutput

SETTINGS = ToolSettings(max_file_bytes=300_000)


async def call(tool: Tool, workspace: Path, arguments: Mapping[str, Any]) -> ToolOutput:
    return await tool.run(arguments, ToolContext(new_id(), new_id(), workspace, "key"))


async def read(workspace: Path, path: str, **more: int) -> ToolOutput:
    return await call(read_file_tool(SETTINGS), workspace, {"path": path, **more})


async def test_read_shows_numbered_lines_and_the_same_lines_as_sources(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_bytes("# Grüße\r\n\r\nlast line".encode())
    output = await read(tmp_path, "docs/guide.md")
    assert output.content == "docs/guide.md:1: # Grüße\ndocs/guide.md:2: \ndocs/guide.md:3: last line"
    assert output.sources == (
        SourceLine("docs/guide.md", 1, "# Grüße"),
        SourceLine("docs/guide.md", 2, ""),
        SourceLine("docs/guide.md", 3, "last line"),
    )


async def test_read_takes_a_range_and_says_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("".join(f"line {number}\n" for number in range(1, 11)))
    output = await read(tmp_path, "a", first_line=3, last_line=4)
    assert output.content == "a:3: line 3\na:4: line 4\n[lines 3-4 of 10; continue with first_line=5]"
    end = await read(tmp_path, "a", first_line=9)
    assert end.content.endswith("a:10: line 10\n[lines 9-10 of 10]")


async def test_read_continues_until_every_line_was_shown_once(tmp_path: Path) -> None:
    lines = [f"{number} " + "x" * (number % 300) for number in range(1, 1501)]
    (tmp_path / "long.txt").write_text("\n".join(lines))
    seen: list[SourceLine] = []
    while len(seen) < len(lines):
        output = await read(tmp_path, "long.txt", first_line=len(seen) + 1)
        assert len(output.content) < 41_000
        assert 0 < len(output.sources) <= 400
        seen += output.sources
    assert [source.text for source in seen] == lines
    assert [source.line for source in seen] == list(range(1, 1501))


async def test_wide_range_is_cut_to_what_one_call_shows(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\n" * 1000)
    output = await read(tmp_path, "a", first_line=1, last_line=1000)
    assert len(output.sources) == 400
    assert output.content.endswith("[lines 1-400 of 1000; continue with first_line=401]")


async def test_line_numbers_are_those_of_grep(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\x0btwo\u2028three\x0cfour\nsecond\n")
    assert [source.line for source in (await read(tmp_path, "a")).sources] == [1, 2]


async def test_very_long_line_is_cut_visibly(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x" * 100_000 + "\nnext")
    output = await read(tmp_path, "a")
    assert "[cut: the line has 100000 characters]\na:2: next" in output.content
    assert output.sources[0].text == "x" * 2000


async def test_invalid_utf8_is_replaced_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("Gr\xfc\xdfe aus K\xf6ln, ein Satz mit Umlauten".encode("latin-1"))
    output = await read(tmp_path, "latin")
    assert "Gr\ufffd\ufffde aus K\ufffdln" in output.content
    assert "[3 places are not valid UTF-8" in output.content


async def test_replacement_character_of_the_file_itself_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("shows \ufffd as text")
    assert "not valid" not in (await read(tmp_path, "a")).content


@pytest.mark.parametrize("content", [b"\x7fELF\x02\x01\0\0\0", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"\xff" * 500])
async def test_binary_file_is_refused_clearly(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bin").write_bytes(content)
    with pytest.raises(ToolError, match="'bin' is not text"):
        await read(tmp_path, "bin")


async def test_utf16_with_a_mark_and_utf8_with_a_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "wide").write_text("hällo", "utf-16")
    (tmp_path / "marked").write_text("hällo", "utf-8-sig")
    for name in ("wide", "marked"):
        assert (await read(tmp_path, name)).content == f"{name}:1: hällo"


async def test_late_nul_never_reaches_the_output(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"text\n" * 3000 + b"torn\0write\n")
    output = await read(tmp_path, "log", first_line=2990)
    assert "\0" not in output.content + "".join(source.text for source in output.sources)


async def test_empty_file_and_line_past_the_end_are_said_so(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert (await read(tmp_path, "empty")).content == "empty is empty (0 lines)."
    (tmp_path / "a").write_text("one\n")
    with pytest.raises(ToolArgumentsError, match=r"first_line: 2 is past the end\. Expected: 1 to 1"):
        await read(tmp_path, "a", first_line=2)
    with pytest.raises(ToolArgumentsError, match="last_line: 1 is before first_line 2"):
        await read(tmp_path, "a", first_line=2, last_line=1)


async def test_list_shows_sorted_paths_with_sizes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.md").write_text("22")
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "link").symlink_to("/etc/passwd")
    output = await call(list_files_tool(), tmp_path, {})
    assert output.content.splitlines() == [
        "a.txt  1 bytes",
        "b/two.md  2 bytes",
        "[1 entries are not shown: links, devices, or names that are not plain text]",
    ]
    chosen = await call(list_files_tool(), tmp_path, {"pattern": "*.md"})
    assert chosen.content.splitlines()[0] == "b/two.md  2 bytes"


async def test_list_is_bounded_and_says_how_many_there_are(tmp_path: Path) -> None:
    for number in range(520):
        (tmp_path / f"{number:04}").touch()
    output = await call(list_files_tool(), tmp_path, {})
    assert len(output.content.splitlines()) == 501
    assert "[500 of 520 files shown" in output.content
    assert output.data == {"files": 520, "truncated": True}


async def test_list_of_nothing_is_said_so(tmp_path: Path) -> None:
    assert (await call(list_files_tool(), tmp_path, {})).content == "The workspace has no files."
    (tmp_path / "a").touch()
    assert "No file fits" in (await call(list_files_tool(), tmp_path, {"pattern": "*.md"})).content
    with pytest.raises(ToolError, match="pattern"):
        await call(list_files_tool(), tmp_path, {"pattern": "../*"})


async def test_write_then_read_then_delete(tmp_path: Path) -> None:
    written = await call(write_file_tool(SETTINGS), tmp_path, {"path": "out/note.md", "content": "Grüße\n"})
    assert written.content == "Created out/note.md: 8 bytes."
    again = await call(write_file_tool(SETTINGS), tmp_path, {"path": "out/note.md", "content": ""})
    assert again.content == "Replaced out/note.md: 0 bytes."
    deleted = await call(delete_file_tool(), tmp_path, {"path": "out/note.md"})
    assert deleted.content == "Deleted out/note.md (0 bytes)."
    assert not (tmp_path / "out" / "note.md").exists()


async def test_write_over_the_limit_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ToolArgumentsError, match="content: has 300001 bytes"):
        await call(write_file_tool(SETTINGS), tmp_path, {"path": "a", "content": "x" * 300_001})
    assert list(tmp_path.iterdir()) == []


async def test_every_file_tool_stays_inside(tmp_path: Path) -> None:
    for tool, more in (
        (read_file_tool(SETTINGS), {}),
        (write_file_tool(SETTINGS), {"content": ""}),
        (delete_file_tool(), {}),
    ):
        with pytest.raises(OutsideWorkspaceError):
            await call(tool, tmp_path, {"path": "../x", **more})


def test_governance_sees_the_danger_of_each_tool() -> None:
    tools = [list_files_tool(), read_file_tool(SETTINGS), write_file_tool(SETTINGS), delete_file_tool()]
    assert [(tool.name, tool.action.risk, tool.action.effect, tool.action.egress) for tool in tools] == [
        ("list_files", Risk.LOW, EffectClass.READ, False),
        ("read_file", Risk.LOW, EffectClass.READ, False),
        ("write_file", Risk.HIGH, EffectClass.EFFECT, False),
        ("delete_file", Risk.CRITICAL, EffectClass.IRREVERSIBLE, False),
    ]
