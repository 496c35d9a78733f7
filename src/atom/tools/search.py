"""The tool that finds lines in the files of the workspace."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from atom.governance.models import Action, EffectClass, Risk
from atom.retrieval.terms import terms
from atom.retrieval.workspace import SearchHit, SearchResult, WorkspaceSearch
from atom.tools.errors import OutsideWorkspaceError, ToolArgumentsError, ToolError
from atom.tools.ports import SourceLine, Tool, ToolContext, ToolOutput
from atom.tools.text import cut_line
from atom.tools.workspace import MAX_PATH_CHARS

DEFAULT_HITS = 5
MAX_HITS = 20
MAX_QUERY_CHARS = 1_000
MAX_ALSO = 5
NOTHING = "No line matches."


def search_text_tool(search: WorkspaceSearch) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        query, path = str(arguments["query"]), _inside(arguments.get("path"))
        if not terms(query):
            raise ToolArgumentsError("query: has no word to look for.", hint="Expected: a question or some keywords.")
        limit = int(arguments.get("limit", DEFAULT_HITS))
        return _output(await search.search(context.workspace, query, limit, path), path)

    return Tool(
        action=Action("search_text", Risk.LOW, EffectClass.READ),
        description=(
            "Find the lines of your workspace's text files that answer a question or hold some words, best first. "
            "Every line comes as 'path:LINE: text', so that you can cite it; in brackets below: what it stands under."
        ),
        parameters={
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_QUERY_CHARS,
                    "description": "The question in plain words, or keywords, or an exact name such as 'pool_size'.",
                },
                "path": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_PATH_CHARS,
                    "description": "Only this file or folder, relative to the workspace. Leave it out for all files.",
                },
                "limit": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_HITS,
                    "description": f"How many lines at most. Default {DEFAULT_HITS}.",
                },
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        timeout=30.0,
        run=run,
    )


def _inside(path: object) -> str | None:
    """A relative path without a way up; whether it exists is seen when it is searched."""
    if path is None:
        return None
    parts = PurePosixPath(str(path)).parts
    if str(path).startswith("/") or ".." in parts:
        raise OutsideWorkspaceError(
            f"path: {str(path)!r} leads out of the workspace.", hint="Expected: a path relative to it, without '..'."
        )
    return "/".join(parts) or None


def _output(result: SearchResult, path: str | None) -> ToolOutput:
    if result.files == 0 and path is not None:
        raise ToolError(
            f"path: there is no text file at {path!r} in the workspace.", hint="list_files shows what there is."
        )
    rows = [_head(result), *(row for hit in result.hits for row in _rows(hit)), *_notes(result)]
    return ToolOutput(
        "\n".join(rows),
        sources=tuple(SourceLine(hit.path, hit.line, hit.text) for hit in result.hits),
        data={
            "files": result.files,
            "lines": result.lines,
            "indexed": result.indexed,
            "semantic": result.semantic,
            "scores": [{"path": h.path, "line": h.line, "score": h.score, "cosine": h.cosine} for h in result.hits],
        },
    )


def _head(result: SearchResult) -> str:
    searched = f"{result.lines} lines of {result.files} files searched"
    if not result.hits:
        return f"{NOTHING} ({searched}.)"
    return f"{len(result.hits)} of the best lines ({searched}):"


def _rows(hit: SearchHit) -> list[str]:
    """The line as it stands in its file, and indented below it where that is."""
    also = f"the same text at line {', '.join(map(str, hit.also[:MAX_ALSO]))}" if hit.also else ""
    about = "; ".join(part for part in (hit.context, also) if part)
    return [f"{hit.path}:{hit.line}: {cut_line(hit.text)}", *([f"    [{about}]"] if about else [])]


def _notes(result: SearchResult) -> list[str]:
    notes = []
    if not result.semantic:
        notes.append("[ranked by words only: the embedding model is not installed]")
    elif result.indexed < result.lines:
        notes.append(
            f"[the index is incomplete: {result.indexed} of {result.lines} lines; the others were found by words only]"
        )
    if not result.whole:
        notes.append("[the workspace is very large: not every file was searched; a path narrows the search]")
    if result.skipped:
        notes.append(f"[{result.skipped} files were not searched: not text, too large, or links]")
    return notes
