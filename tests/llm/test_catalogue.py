"""What is known of models, and that what nobody knows is never taken for zero."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import URL

from atom.llm.catalogue import Catalogue, Facts, load_catalogue
from atom.llm.errors import CatalogueError
from atom.llm.ports import Usage
from atom.llm.testing import ScriptedModel
from atom.settings import LlmSettings, Provider
from atom.web.testing import running_atom, settings_for_tests
from tests.support.shell import Shell


def test_listed_prices_are_those_of_an_ordinary_prompt() -> None:
    """The list has two prices for this model: beyond 200,000 tokens it is dearer, the input more than the output."""
    facts = Catalogue().facts(Provider.ANTHROPIC, "claude-sonnet-4-5")
    assert (facts.input_usd, facts.output_usd, facts.cached_usd) == (Decimal(3), Decimal(15), Decimal("0.3"))
    assert [str(facts.input_usd), str(facts.cached_usd)] == ["3", "0.3"]


USED = Usage(1_000_000, 1_000_000, 0)


def written(path: Path, facts: Any) -> Path:
    path.write_text(facts if isinstance(facts, str) else json.dumps(facts))
    return path


@pytest.mark.parametrize(
    ("provider", "model"),
    [(Provider.OPENAI, "no-such"), (Provider.COMPATIBLE, "llama-3"), (Provider.GEMINI, "x")],
)
def test_an_unknown_model_has_no_price_and_no_size(provider: Provider, model: str) -> None:
    facts = Catalogue().facts(provider, model)
    assert (facts.context_tokens, facts.input_usd, facts.output_usd) == (None, None, None)
    assert Catalogue().cost(provider, model, USED) is None


def test_a_known_model_has_a_price_and_unknown_usage_has_none() -> None:
    facts = Catalogue().facts(Provider.OPENAI, "gpt-4o")
    assert facts.input_usd is not None
    assert facts.output_usd is not None
    assert facts.input_usd > 0
    assert Catalogue().cost(Provider.OPENAI, "gpt-4o", USED) == facts.input_usd + facts.output_usd
    assert Catalogue().cost(Provider.OPENAI, "gpt-4o", Usage(None, 5)) is None


@pytest.mark.parametrize("provider", [Provider.LOCAL, Provider.SCRIPTED])
def test_what_nobody_bills_costs_nothing(provider: Provider) -> None:
    assert Catalogue().cost(provider, "m", USED) == Decimal(0)


def test_the_file_corrects_field_by_field_and_its_first_pattern_that_fits_wins(tmp_path: Path) -> None:
    shipped = Catalogue().facts(Provider.OPENAI, "gpt-4o")
    file = written(
        tmp_path / "models.json",
        {"openai/gpt-4o": {"context_tokens": 7}, "openai/*": {"tools": False}, "compatible/*": {
            "input_usd": "1.5", "output_usd": "2", "cached_usd": "0.5"}},
    )  # fmt: skip
    found = load_catalogue(file)
    assert found.facts(Provider.OPENAI, "gpt-4o") == shipped.model_copy(update={"context_tokens": 7})
    assert found.facts(Provider.OPENAI, "other").tools is False
    assert found.cost(Provider.COMPATIBLE, "llama", Usage(1_000_000, 1_000_000, 400_000)) == Decimal("3.1")
    assert found.cost(Provider.OPENAI, "gpt-4o", USED) == Catalogue().cost(Provider.OPENAI, "gpt-4o", USED)


def test_half_a_price_corrects_what_ships(tmp_path: Path) -> None:
    """What is shown as the price is what a call costs."""
    found = load_catalogue(written(tmp_path / "m.json", {"openai/gpt-4o": {"input_usd": "100"}}))
    facts = found.facts(Provider.OPENAI, "gpt-4o")
    assert facts.output_usd is not None
    assert found.cost(Provider.OPENAI, "gpt-4o", USED) == Decimal(100) + facts.output_usd


def test_half_a_price_is_no_price(tmp_path: Path) -> None:
    found = load_catalogue(written(tmp_path / "m.json", {"compatible/*": {"input_usd": "1"}}))
    assert found.cost(Provider.COMPATIBLE, "llama", USED) is None


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("{", "cannot be read"), ("[]", "not an object"), ({"a/*": {"input_usd": -1}}, r"a/\*\.input_usd: "),
        ({"a": {}, "b": {"price": 1}}, "b.price: "), ({"a": {"context_tokens": 0}}, "a.context_tokens: "),
        ({"a": 5}, "a: "),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named_with_its_fault(tmp_path: Path, said: Any, named: str) -> None:
    with pytest.raises(CatalogueError, match=named):
        load_catalogue(written(tmp_path / "models.json", said))


def test_facts_start_out_unknown() -> None:
    assert set(Facts().model_dump().values()) == {None}


async def test_an_operator_finds_them(database: URL, home: Path) -> None:
    file = written(home / "models.json", {"compatible/llama": {"context_tokens": 8192, "vision": False}})
    llm = LlmSettings(openai_api_key=SecretStr("x"), openai_model="gpt-4o", catalogue_path=file)
    async with running_atom(settings_for_tests(home, llm=llm), database, ScriptedModel()) as atom:
        key = {"provider": "compatible", "name": "own", "secret": "x", "base_url": "http://127.0.0.1:9/v1",
               "models": ["llama", "mistral*"]}  # fmt: skip
        assert (await atom.http.post("/api/keys", json=key)).status_code == 201
        shell = Shell(home, atom.url, atom.token)
        items = {one["model"]: one for one in (await shell("keys", "models", "--json")).json()["items"]}
        assert list(items) == ["gpt-4o", "llama", "smollm2-135m-instruct"]
        assert (items["llama"]["context_tokens"], items["llama"]["input_usd"]) == (8192, None)
        assert float(items["gpt-4o"]["input_usd"]) > 0
        assert float(items["smollm2-135m-instruct"]["output_usd"]) == 0
        shown = (await shell("keys", "models", "compatible/llama")).out
        assert ("8192" in shown, "no" in shown, "?" in shown) == (True, True, True)
        refused = await atom.http.get("/api/models/catalogue", params={"model": "nobody/x"})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
