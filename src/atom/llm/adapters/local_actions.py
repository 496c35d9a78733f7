"""Which actions a request allows: those whose arguments can be copied out of it. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atom.llm.adapters.local_dialogue import Situation
from atom.llm.adapters.local_prompts import ANSWER

URL = re.compile(r"https?://[^\s\"'<>]+")
PATH = re.compile(r"(?<![\w./-])(?:[\w.-]+/)*[\w-][\w.-]*\.[A-Za-z]\w{0,9}(?![\w/-])")
QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|'([^']+)'")
ARITHMETIC = re.compile(r"[\d.()+\-*/%^ ]+")
OPERATION = re.compile(r"\d\s*\)*\s*(?:\*\*|[-+*/%^])\s*\(*\s*-?\d")
TRAILING = ".,;:!?"


@dataclass(frozen=True, slots=True)
class Action:
    """Something to choose. `argument` is filled with one of `options`; `fixed` is known already.

    `free` takes any run of words of the request.
    """

    name: str
    argument: str = ""
    options: tuple[str, ...] = ()
    fixed: tuple[tuple[str, str], ...] = ()
    free: bool = False


def feasible(situation: Situation) -> list[Action]:
    """Every action that the offered tools and the words of the request allow. Saying something is always one."""
    actions = [Action(ANSWER)]
    for name, make in MAKERS.items():
        if name in situation.tools:
            made = make(situation)
            if made is not None and _fits(made, situation):
                actions.append(made)
    return actions


def _fits(action: Action, situation: Situation) -> bool:
    """A tool of the same name with other arguments is somebody else's tool."""
    names = [name for name, _ in action.fixed] + ([action.argument] if action.argument else [])
    required = situation.tools[action.name].parameters.get("required", [])
    return all(situation.accepts(action.name, name) for name in names) and set(required) <= set(names)


def _search(situation: Situation) -> Action | None:
    if not any(character.isalnum() for character in situation.question):
        return None
    narrowed = len(situation.files) == 1 and situation.accepts("search_text", "path")
    fixed = (("path", situation.files[0]),) if narrowed else ()
    return Action("search_text", "query", fixed=fixed, free=True)


def _of_path(name: str) -> Callable[[Situation], Action | None]:
    def make(situation: Situation) -> Action | None:
        paths = _paths(situation)
        return Action(name, "path", paths) if paths else None

    return make


def _write(situation: Situation) -> Action | None:
    paths = _paths(situation)
    texts = [text for match in QUOTED.finditer(situation.question) for text in match.groups() if text]
    texts = [text for text in texts if text not in paths]
    return Action("write_file", "path", paths, fixed=(("content", texts[0]),)) if paths and texts else None


def _get(situation: Situation) -> Action | None:
    urls = tuple(dict.fromkeys(url.rstrip(TRAILING) for url in URL.findall(situation.question)))
    return Action("http_get", "url", urls) if urls else None


def _calculate(situation: Situation) -> Action | None:
    spans = [span.strip(" .") for span in ARITHMETIC.findall(situation.question)]
    sums = tuple(dict.fromkeys(span for span in spans if OPERATION.search(span)))
    return Action("calculate", "expression", sums) if sums else None


def _paths(situation: Situation) -> tuple[str, ...]:
    words = URL.sub(" ", situation.question)
    named = [path for path in PATH.findall(words) if not path.startswith("..")]
    return tuple(dict.fromkeys([*named, *situation.files]))


MAKERS: Mapping[str, Callable[[Situation], Action | None]] = {
    "search_text": _search,
    "list_files": lambda situation: Action("list_files"),
    "current_time": lambda situation: Action("current_time"),
    "calculate": _calculate,
    "read_file": _of_path("read_file"),
    "delete_file": _of_path("delete_file"),
    "write_file": _write,
    "http_get": _get,
}
