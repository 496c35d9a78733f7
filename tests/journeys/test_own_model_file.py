"""A deployment whose model is a GGUF file of its operator's."""

from pathlib import Path

import pytest
from sqlalchemy import URL

from atom.llm.adapters import local_weights
from atom.settings import LlmSettings, LocalModelSettings
from atom.web.testing import running_atom, settings_for_tests


@pytest.mark.local_model
@pytest.mark.skipif(local_weights.missing() is not None, reason=str(local_weights.missing()))
async def test_a_run_is_answered_by_the_file_as_by_any_model(database: URL, home: Path) -> None:
    file = home / "tiny-chat.gguf"
    file.symlink_to(local_weights.language_model())
    llm = LlmSettings(local=LocalModelSettings(model_path=file, context_tokens=2_048), max_tokens=30)
    async with running_atom(settings_for_tests(home, llm=llm), database) as atom:
        await atom.agent(tools=[])
        run = await atom.done("worker", "Say hello.")
        assert (run["status"], run["provider"], run["model"]) == ("completed", "local", "tiny-chat")
        assert run["model_note"] is None
        assert run["answer"]
        assert run["usage"]["output_tokens"] > 0
        assert (await atom.http.get("/api/models")).json()["note"] is None


async def test_a_file_that_is_gone_fails_the_run_with_the_setting_and_degrades_health(
    database: URL, home: Path
) -> None:
    llm = LlmSettings(local=LocalModelSettings(model_path=home / "gone.gguf"))
    async with running_atom(settings_for_tests(home, llm=llm), database) as atom:
        await atom.agent(tools=[])
        run = await atom.done("worker", "Say hello.")
        assert (run["status"], run["error"]["code"]) == ("failed", "llm_not_configured")
        assert f"ATOM_LLM__LOCAL__MODEL_PATH: {home}/gone.gguf cannot be read" in run["error"]["message"]
        health = (await atom.http.get("/health/ready")).json()
        assert health["checks"]["llm"] == "degraded"
