"""`make check`: every gate, one line each, all failures at the end."""

import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from scripts.house import budgets, docs, migrations, reference, secrets
from scripts.house.tree import CODE, python_files, text_files

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LOGO = set("╔╗║╚")  # what lint-imports draws before it speaks
TOOL_TIMEOUT = 600  # seconds; mypy with an empty cache takes about 60 on two cores


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    seconds: float
    failures: str


def tool(*command: str) -> str:
    """What a failing tool says; empty when it is content."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TOOL_TIMEOUT, check=False)
    return (done.stdout + done.stderr).strip() or f"exit {done.returncode}" if done.returncode else ""


def told(problems: list[object]) -> str:
    return "\n".join(str(problem) for problem in problems)


def _folders() -> list[str]:
    return [name for name in CODE if any((ROOT / name).rglob("*.py"))]


def _types() -> str:
    return tool(str(BIN / "mypy"), "--no-error-summary", *_folders())


def _imports() -> str:
    said = tool(str(BIN / "lint-imports"), "--no-cache")
    words = [line for line in said.splitlines() if not LOGO & set(line)]
    broken = words.index("Broken contracts") if "Broken contracts" in words else 0
    return "\n".join(words[broken:]).strip()


def _shell() -> str:
    scripts = [file.path for file in text_files(ROOT) if file.text.startswith("#!/usr/bin/env bash")]
    return "\n".join(filter(None, (tool("bash", "-n", script) for script in scripts)))


def _docs() -> str:
    stale = [
        f"{page}: does not say what the code says; run scripts/reference"
        for page in reference.stale(ROOT, reference.render())
    ]
    files = text_files(ROOT)
    known = docs.Known(reference.variables(), reference.commands(), docs.metrics(files))
    found = docs.check(ROOT, files, known)
    return told([*stale, *found])


CHECKS: dict[str, Callable[[], str]] = {
    "types": _types,
    "format": lambda: tool(str(BIN / "ruff"), "format", "--check", "--quiet", *_folders()),
    "lint": lambda: tool(str(BIN / "ruff"), "check", "--quiet", "--output-format", "concise", *_folders()),
    "imports": _imports,
    "budgets": lambda: told([*budgets.check(python_files(text_files(ROOT)))]),
    "migrations": lambda: told([*migrations.check(ROOT)]),
    "docs": _docs,
    "secrets": lambda: told([*secrets.check(text_files(ROOT))]),
    "shell": _shell,
}


def run(name: str) -> Result:
    begun = time.monotonic()
    failures = CHECKS[name]()
    return Result(name, time.monotonic() - begun, failures)


def gather(names: list[str]) -> Iterator[Result]:
    """Results as they come. A check that breaks down has failed, and says how."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        futures = {pool.submit(run, name): name for name in names}
        for future in as_completed(futures):
            error = future.exception()
            broken = "".join(traceback.format_exception(error, limit=-3)) if error else ""
            yield Result(futures[future], 0.0, broken) if error else future.result()


def main(names: list[str]) -> int:
    if unknown := set(names) - set(CHECKS):
        print(f"check: no such check: {', '.join(sorted(unknown))}. There are: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    results = []
    for result in gather(names or list(CHECKS)):
        results.append(result)
        print(f"check: {'FAIL' if result.failures else 'ok  '} {result.name:<11}{result.seconds:6.1f} s", flush=True)
    failed = [result for result in results if result.failures]
    for result in failed:
        print(f"\n== {result.name}\n{result.failures}")
    print(
        f"\ncheck: {len(failed)} of {len(results)} checks failed"
        if failed
        else f"check: all {len(results)} checks passed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
