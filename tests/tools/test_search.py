"""The tool search_text: lines in the form that can be cited, and plain words when there are none."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from atom.governance.models import EffectClass, Risk
from atom.kit.ids import new_id
from atom.retrieval.testing import WordEmbedder
from atom.retrieval.workspace import SearchLimits, WorkspaceSearch
from atom.tools.errors import OutsideWorkspaceError, ToolArgumentsError, ToolError
from atom.tools.ports import SourceLine, Tool, ToolContext, ToolOutput
from atom.tools.search import search_text_tool

GUIDE = "# Pool\n\nThe pool size is 20.\nThe pool waits 3 seconds.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "workspace/docs").mkdir(parents=True)
    (tmp_path / "workspace/docs/guide.md").write_text(GUIDE)
    return tmp_path / "workspace"


def tool(folder: Path, limits: SearchLimits | None = None, *, semantic: bool = True) -> Tool:
    return search_text_tool(WorkspaceSearch(WordEmbedder() if semantic else None, folder.parent / "cache", limits))


async def run(tool: Tool, folder: Path, **arguments: Any) -> ToolOutput:
    jsonschema.validate(arguments, tool.parameters)
    return await tool.run(arguments, ToolContext(new_id(), new_id(), folder, "key"))


async def test_lines_come_as_path_line_text_and_are_the_sources(folder: Path) -> None:
    output = await run(tool(folder), folder, query="What is the pool size?", limit=1)
    assert output.content == (
        "1 of the best lines (3 lines of 1 files searched):\ndocs/guide.md:3: The pool size is 20.\n    [Pool]"
    )
    assert output.sources == (SourceLine("docs/guide.md", 3, "The pool size is 20."),)
    assert output.data["scores"][0]["line"] == 3


async def test_nothing_found_is_said_plainly(folder: Path) -> None:
    output = await run(tool(folder), folder, query="capital of France")
    assert output.content == "No line matches. (3 lines of 1 files searched.)"
    assert output.sources == ()


async def test_it_may_only_read(folder: Path) -> None:
    action = tool(folder).action
    assert (action.name, action.risk, action.effect, action.egress) == (
        "search_text",
        Risk.LOW,
        EffectClass.READ,
        False,
    )


@pytest.mark.parametrize("path", ["/etc", "../other", "docs/../../x"])
async def test_a_path_out_of_the_workspace_is_refused(folder: Path, path: str) -> None:
    with pytest.raises(OutsideWorkspaceError):
        await run(tool(folder), folder, query="pool", path=path)


async def test_a_path_narrows_the_search_and_an_unknown_one_is_named(folder: Path) -> None:
    assert (await run(tool(folder), folder, query="pool size", path="docs")).sources
    assert (await run(tool(folder), folder, query="pool size", path="./docs/guide.md")).sources
    with pytest.raises(ToolError, match=r"no text file at 'nowhere'"):
        await run(tool(folder), folder, query="pool", path="nowhere")


async def test_a_query_without_a_word_is_refused(folder: Path) -> None:
    with pytest.raises(ToolArgumentsError, match="has no word"):
        await run(tool(folder), folder, query=" ?! ")


@pytest.mark.parametrize("arguments", [{}, {"query": ""}, {"query": "a", "limit": 21}, {"query": "a", "other": 1}])
def test_arguments_that_do_not_fit_the_schema(folder: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(arguments, tool(folder).parameters)


async def test_it_says_what_it_did_not_do(folder: Path) -> None:
    (folder / "binary.bin").write_bytes(b"\0")
    words_only = await run(tool(folder, semantic=False), folder, query="pool size")
    assert "[ranked by words only" in words_only.content
    assert "[1 files were not searched" in words_only.content
    incomplete = await run(tool(folder, SearchLimits(embed_lines=0)), folder, query="pool size")
    assert "[the index is incomplete: 0 of 3 lines" in incomplete.content
    small = await run(tool(folder, SearchLimits(lines=1)), folder, query="pool size")
    assert "not every file was searched" in small.content


async def test_a_long_line_is_cut_for_the_model(folder: Path) -> None:
    (folder / "long.txt").write_text("zebra " + "x" * 50_000)
    assert len((await run(tool(folder), folder, query="zebra")).content) < 5_000
