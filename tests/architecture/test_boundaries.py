"""The import contracts of pyproject.toml forbid what the tree forbids, on a tree made for the purpose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = [
    "cli", "web", "ops", "feed", "runs", "tools", "skills", "memory", "retrieval", "governance", "agents", "llm",
    "identity", "durable", "events", "infra", "kit", "client", "training", "triggers",
]  # fmt: skip

FORBIDDEN = {
    "upwards": ("kit/text.py", "import atom.runs", "The tree"),
    "a folder that is no layer": ("newcomer/__init__.py", "", "The tree"),
    "rule imports edge": ("agents/service.py", "import atom.agents.api", "Inside a domain"),
    "table imports store": ("agents/models.py", "import atom.agents.store", "Inside a domain"),
    "a stranger's store": ("runs/service.py", "import atom.agents.store", "A store belongs"),
    "web in rules": ("runs/service.py", "import fastapi", "Rules know no web"),
    "web in rules, by a detour": ("runs/service.py", "import atom.runs.page", "Rules know no web"),
    "command line in rules": ("runs/store.py", "import typer", "Rules know no web"),
    "settings in the client": ("client/api.py", "import atom.settings", "The client"),
    "driver in commands": ("cli/runs.py", "import psycopg", "Commands and the client"),
    "orm in the client": ("client/api.py", "import sqlalchemy", "Commands and the client"),
    "SDK in the loop": ("runs/service.py", "import openai", "Vendors"),
    "SDK beside the adapters": ("llm/service.py", "from anthropic import AsyncAnthropic", "Vendors"),
    "grammar in validation": ("skills/service.py", "import tree_sitter", "Vendors"),
    "skills that know tools": ("skills/service.py", "import atom.tools", "The tree"),
    "embedder in memory": ("retrieval/service.py", "import onnxruntime", "Vendors"),
}

ALLOWED = {
    "wiring.py": "import atom.agents.store, atom.ops",
    "runs/service.py": "import atom.agents.service",
    "agents/service.py": "import atom.agents.store",
    "agents/api.py": "import fastapi",
    "llm/adapters/openai.py": "import openai",
    "retrieval/adapters/minilm.py": "import onnxruntime, tokenizers",
    "skills/adapters/grammars.py": "import tree_sitter, tree_sitter_bash, tree_sitter_javascript",
    "client/api.py": "import atom.errors, atom.kit.text",
    "infra/db.py": "import sqlalchemy",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The smallest package with every layer, the project's own contracts beside it."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8"), "utf-8")
    for name in (*LAYERS, "llm/adapters", "retrieval/adapters", "skills/adapters"):
        put(tmp_path, f"{name}/__init__.py", "")
    for name in ("__init__.py", "wiring.py", "settings.py", "errors.py", "agents/api.py", "agents/store.py"):
        put(tmp_path, name, "")
    put(tmp_path, "agents/service.py", "")
    put(tmp_path, "kit/text.py", "")
    put(tmp_path, "runs/page.py", "import starlette")
    return tmp_path


def put(tree: Path, name: str, code: str) -> None:
    path = tree / "src" / "atom" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code + "\n", "utf-8")


def lint(tree: Path) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(("file", "code", "contract"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_forbidden_import_breaks_its_contract(tree: Path, file: str, code: str, contract: str) -> None:
    put(tree, file, code)
    broken = [line for line in lint(tree).splitlines() if " BROKEN" in line]
    assert any(line.startswith(contract) for line in broken)


def test_the_imports_that_the_tree_allows_break_nothing(tree: Path) -> None:
    for file, code in ALLOWED.items():
        put(tree, file, code)
    assert "7 kept, 0 broken" in lint(tree)
