"""docs/reference says what the code says."""

from pathlib import Path
from typing import Any, cast

from fastapi import APIRouter, Depends, FastAPI

from atom import settings
from atom.identity.guard import Guard, public
from atom.identity.models import Permission
from scripts.house import reference

ROOT = Path(__file__).resolve().parents[2]


def test_every_setting_stands_in_the_reference_with_its_bounds() -> None:
    page = reference.settings_page()
    assert all(f"`{name}`" in page for name in reference.variables())
    assert "| `ATOM_DATABASE__POOL_SIZE` | `20` | whole number, >= 1, <= 500 |" in page
    assert "## llm.local" in page
    assert "| `ATOM_LLM__LOCAL__MODEL_PATH` | unset | path |" in page
    assert "| `ATOM_LLM__PROVIDER` or `LLM_PROVIDER` | unset | openai, anthropic, gemini, azure, " in page


def test_every_setting_says_what_it_means() -> None:
    assert [place for place, field in settings.FIELDS.items() if not field.description] == []


def test_the_api_page_names_method_permission_answers_and_meaning() -> None:
    guard = Guard(cast(Any, None), cast(Any, None), cast(Any, None))
    app, router = FastAPI(), APIRouter(prefix="/api/runs")

    @app.get("/health/live", dependencies=[Depends(public)])
    async def live() -> None:
        """It turns.

        More words."""

    @app.post(
        "/api/runs/{run_id}/cancel", status_code=202, dependencies=[Depends(guard.requires(Permission.RUNS_WRITE))]
    )
    async def cancel_run(run_id: int) -> None: ...

    app.include_router(router)
    page = reference.api_page(app)
    assert "| GET | `/health/live` | public | 200 | It turns. |" in page
    assert "| POST | `/api/runs/{run_id}/cancel` | `runs:write` | 202 | Cancel run. |" in page


def test_a_page_that_differs_is_stale(tmp_path: Path) -> None:
    assert reference.stale(tmp_path, {"a.md": "x"}) == ["a.md"]
    (tmp_path / "a.md").write_text("x", "utf-8")
    assert reference.stale(tmp_path, {"a.md": "x"}) == []
    assert reference.stale(tmp_path, {"a.md": "y"}) == ["a.md"]
