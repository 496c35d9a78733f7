"""The tools for files of the workspace: list, read, write, delete."""

import asyncio
from collections.abc import Mapping
from typing import Any

from atom.governance.models import Action, EffectClass, Part, Risk
from atom.settings import ToolSettings
from atom.tools.errors import ToolArgumentsError, ToolError
from atom.tools.ports import Tool, ToolContext, ToolOutput
from atom.tools.text import BinaryContentError, Decoded, decode_text, number_lines, split_lines
from atom.tools.workspace import MAX_PATH_CHARS, Workspace, plain_path
from atom.tools.workspace_walk import FoundFile, Walk, check_pattern, matches, walk

MAX_LISTED = 500
MAX_LINES = 400
TIMEOUT = 30.0  # a slow network disk; a local one takes milliseconds
PATH = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_PATH_CHARS,
    "description": "Path of the file, relative to the workspace, for example 'docs/guide.md'. Not absolute, no '..'.",
}


def list_files_tool() -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        pattern = arguments.get("pattern")
        if pattern is not None:
            check_pattern(pattern)
        return await asyncio.to_thread(_list, Workspace(context.workspace), pattern)

    return Tool(
        action=Action("list_files", Risk.LOW, EffectClass.READ),
        description=(
            "List the files of your workspace, folders included, with their sizes in bytes, sorted by path. "
            f"At most {MAX_LISTED} are shown; a pattern narrows the list."
        ),
        parameters=_schema(
            {
                "pattern": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_PATH_CHARS,
                    "description": (
                        "Glob: '*.md' is every .md file in any folder, 'docs/*.md' only those directly in docs, "
                        "'src/**/*.py' at any depth under src. Leave it out to list everything."
                    ),
                }
            },
            required=[],
        ),
        timeout=TIMEOUT,
        run=run,
    )


def read_file_tool(settings: ToolSettings) -> Tool:
    limit = settings.max_file_bytes

    async def run(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        first = int(arguments.get("first_line", 1))
        last = int(arguments.get("last_line", first + MAX_LINES - 1))
        if last < first:
            raise ToolArgumentsError(
                f"last_line: {last} is before first_line {first}.", hint="Expected: a line at or after first_line."
            )
        path = plain_path(arguments["path"])  # in whatever spelling: labels and citations know one
        return await asyncio.to_thread(_read, Workspace(context.workspace), path, first=first, last=last, limit=limit)

    line = {"type": "integer", "minimum": 1, "maximum": 1_000_000_000}
    return Tool(
        action=Action("read_file", Risk.LOW, EffectClass.READ),
        description=(
            "Read a text file of your workspace. Every line comes as 'path:LINE: text', so that you can cite it. "
            f"One call shows at most {MAX_LINES} lines and says how to continue."
        ),
        parameters=_schema(
            {
                "path": PATH,
                "first_line": {**line, "description": "First line to show, counted from 1. Default 1."},
                "last_line": {**line, "description": "Last line to show. Default: as many as one call shows."},
            },
            required=["path"],
        ),
        timeout=TIMEOUT,
        run=run,
    )


def write_file_tool(settings: ToolSettings) -> Tool:
    limit = settings.max_file_bytes

    async def run(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        path, content = arguments["path"], arguments["content"].encode()
        if len(content) > limit:
            raise ToolArgumentsError(
                f"content: has {len(content)} bytes.", hint=f"Expected: at most {limit} bytes. Write several files."
            )
        created = await asyncio.to_thread(Workspace(context.workspace).write, path, content)
        done = "Created" if created else "Replaced"
        data = {"bytes": len(content), "created": created}
        return ToolOutput(f"{done} {path}: {len(content)} bytes.", data=data, files=(plain_path(path),))

    return Tool(
        action=Action("write_file", Risk.HIGH, EffectClass.EFFECT, parts={"content": Part.CONTENT}),
        description=(
            "Write a text file in your workspace. It replaces an existing file and makes missing folders. "
            "To change a part, read the file first and write it back complete."
        ),
        parameters=_schema(
            {
                "path": PATH,
                "content": {"type": "string", "description": "The complete new text of the file (saved as UTF-8)."},
            },
            required=["path", "content"],
        ),
        timeout=TIMEOUT,
        run=run,
        writes=frozenset({"path"}),
    )


def delete_file_tool() -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        path = arguments["path"]
        size = await asyncio.to_thread(Workspace(context.workspace).delete, path)
        return ToolOutput(f"Deleted {path} ({size} bytes).", data={"bytes": size})

    return Tool(
        action=Action("delete_file", Risk.CRITICAL, EffectClass.IRREVERSIBLE),
        description="Delete one file of your workspace for good. It cannot be brought back. Folders cannot be deleted.",
        parameters=_schema({"path": PATH}, required=["path"]),
        timeout=TIMEOUT,
        run=run,
    )


def _schema(properties: Mapping[str, Any], *, required: list[str]) -> Mapping[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _list(workspace: Workspace, pattern: str | None) -> ToolOutput:
    found = walk(workspace)
    chosen = [file for file in found.files if pattern is None or matches(pattern, file.path)]
    shown = chosen[:MAX_LISTED]
    lines = [f"{file.path}  {file.size} bytes" for file in shown] or [_nothing(found, pattern)]
    lines += _list_notes(found, chosen)
    truncated = len(shown) < len(chosen) or not found.complete
    data = {"files": len(chosen), "truncated": truncated}
    return ToolOutput("\n".join(lines), data=data, paths=tuple(file.path for file in shown))


def _nothing(found: Walk, pattern: str | None) -> str:
    if pattern is None or not found.files:
        return "The workspace has no files."
    return f"No file fits the pattern {pattern!r}. Without a pattern every file is listed."


def _list_notes(found: Walk, chosen: list[FoundFile]) -> list[str]:
    notes = []
    if len(chosen) > MAX_LISTED:
        notes.append(f"[{MAX_LISTED} of {len(chosen)} files shown; give a narrower pattern to see the others]")
    if not found.complete:
        notes.append("[the workspace is very large: not every folder was looked at; give a path you know to read_file]")
    if found.skipped:
        notes.append(f"[{found.skipped} entries are not shown: links, devices, or names that are not plain text]")
    return notes


def _read(workspace: Workspace, path: str, *, first: int, last: int, limit: int) -> ToolOutput:
    decoded = _decode(workspace.read(path, limit=limit), path)
    lines = split_lines(decoded.text)
    if not lines:
        return ToolOutput(f"{path} is empty (0 lines).", data={"lines": 0})
    if first > len(lines):
        raise ToolArgumentsError(
            f"first_line: {first} is past the end.", hint=f"Expected: 1 to {len(lines)}, the lines of {path}."
        )
    shown = number_lines(path, lines[first - 1 : min(last, first + MAX_LINES - 1)], first=first)
    end = first + len(shown.sources) - 1
    notes = []
    if end < len(lines) or first > 1:
        more = f"; continue with first_line={end + 1}" if end < len(lines) else ""
        notes.append(f"[lines {first}-{end} of {len(lines)}{more}]")
    if decoded.replaced:
        notes.append(f"[{decoded.replaced} places are not valid {decoded.encoding} and show as \ufffd]")
    return ToolOutput("\n".join([shown.content, *notes]), sources=shown.sources, data={"lines": len(lines)})


def _decode(content: bytes, path: str) -> Decoded:
    try:
        return decode_text(content)
    except BinaryContentError as error:
        raise ToolError(f"path: {path!r} is not text: {error.message}", hint="Only text files can be read.") from error
