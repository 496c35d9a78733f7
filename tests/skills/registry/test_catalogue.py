"""Choosing among skills: what a task is about comes first; whoever may not use one never sees it."""

from pathlib import Path
from typing import cast

import pytest

from atom.agents.service import AgentService
from atom.infra.db import Sessions
from atom.retrieval.embedding_cache import EmbeddingCache
from atom.retrieval.ports import Embedder
from atom.retrieval.testing import WordEmbedder
from atom.runs.offering import ALL, BEST, Offering, offer
from atom.skills.catalogue import CANDIDATES, Catalogue, Entry
from tests.skills.registry.conftest import Desk, skill

FEW = [
    ("pdf-forms", "Fill the fields of a form that came as a PDF."),
    ("weather", "Forecast rain, wind and temperature of a place."),
    ("invoices", "Take amounts and dates out of bills of suppliers."),
]


def entries(*named: tuple[str, str]) -> list[Entry]:
    return [Entry(name, description, "0" * 16, online=False) for name, description in named]


def catalogue(embedder: Embedder | None = None, cache: EmbeddingCache | None = None) -> Catalogue:
    return Catalogue(cast(Sessions, None), cast(AgentService, None), embedder, cache)


async def test_words_alone_leave_out_what_has_none_of_them() -> None:
    found = await catalogue().rank(entries(*FEW), "how much rain and wind will there be", 3)
    assert [one.name for one in found] == ["weather"]
    assert await catalogue().rank(entries(*FEW), "zebra", 3) == []


async def test_meaning_orders_all_of_them_and_each_text_is_embedded_once(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    cache = EmbeddingCache(tmp_path / "v", embedder.dimensions)
    one = catalogue(embedder, cache)
    found = await one.rank(entries(*FEW), "bills of suppliers", 2)
    assert found[0].name == "invoices"
    assert len(found) == 2
    asked = len(embedder.asked)
    await one.rank(entries(*FEW), "bills of suppliers", 2)
    assert len(embedder.asked) == asked + 1  # the query
    await catalogue(embedder, cache).rank(entries(*FEW), "bills of suppliers", 2)
    assert len(embedder.asked) == asked + 2  # another process finds them on disk


async def test_thousand_skills_cost_few_embeddings_at_a_time() -> None:
    many = [(f"skill-{number}", f"Does thing number {number} for somebody.") for number in range(1000)]
    embedder = WordEmbedder()
    found = await catalogue(embedder).rank(entries(*many, ("weather", "Rain and wind.")), "rain and wind", 8)
    assert found[0].name == "weather"
    assert len(embedder.asked) <= CANDIDATES + 1


async def test_embedder_that_breaks_leaves_the_words() -> None:
    found = await catalogue(WordEmbedder(broken_after=0)).rank(entries(*FEW), "rain and wind", 3)
    assert [one.name for one in found] == ["weather"]


@pytest.mark.parametrize("query", ["", "   "])
async def test_no_question_gives_them_by_name(query: str) -> None:
    assert [one.name for one in await catalogue().rank(entries(*FEW), query, 2)] == ["pdf-forms", "weather"]


async def test_few_are_all_offered_and_of_many_the_best(desk: Desk) -> None:
    offering = Offering(desk.layer.catalogue)
    assert await offering.at_start("worker", ["read_skill"], "anything") is None
    for number in range(ALL):
        await desk.used(skill(f"skill-{number:02}", text=f"Number {number}."))
    few = await offering.at_start("worker", ["read_skill", "find_skills"], "anything at all")
    assert few is not None
    assert (len(few.skills), few.others) == (ALL, 0)
    await desk.used(skill("weather-report"))
    many = await offering.at_start("worker", ["read_skill", "find_skills"], "a weather report, please")
    assert many is not None
    assert many.skills[0] == "weather-report"
    assert len(many.skills) <= BEST
    assert len(many.skills) + many.others == ALL + 1
    assert "find_skills finds them" in many.text
    assert await offering.at_start("worker", ["run_skill"], "a weather report") is None


def test_offer_without_a_way_to_search_says_only_how_many() -> None:
    found = offer(entries(*FEW), 5, searchable=False)
    assert found is not None
    assert "5 more are not named here." in found.text
    assert "find_skills" not in found.text
