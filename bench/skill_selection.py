"""Finding the right one among 1,000 skills: how often it is offered, and how long choosing takes.

    .venv/bin/python bench/skill_selection.py [PATH] [--json FILE]

PATH is a file of JSON lines with `path` (of a SKILL.md) and `text`: published skills. Each is asked for with the first
paragraph of its own instructions, the words of its name left out; names and descriptions are what is searched. They
are filled up to 1,000 with skills whose descriptions are other paragraphs of the same texts. R@1 and R@8: the share of
the skills that come first, and among the 8 that an agent is told of. Words alone and words with meaning (the local
embedder) side by side in one run. Without PATH a few made-up skills show that it works, not how well.
"""

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from atom.agents.service import AgentService
from atom.infra.db import Sessions
from atom.retrieval.embedding_cache import EmbeddingCache
from atom.retrieval.local_embedder import find_local_embedder
from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.reading import read_bytes
from atom.skills.catalogue import Catalogue, Entry
from atom.skills.validation.service import Validator

SKILLS = 1_000
OFFERED = 8
SHORTEST = 60  # characters of a paragraph that says anything
MADE_UP = {
    "pdf-forms": ("Fill PDF forms.", "Write values into the fields of a form that came as a PDF, and flatten it."),
    "weather": ("Forecasts for a place.", "Look up what the sky will be like tomorrow: rain, wind and temperature."),
    "invoices": ("Read bills.", "Take amounts, dates and tax numbers out of what suppliers send, as a table."),
}


@dataclass(frozen=True, slots=True)
class Asked:
    entries: Sequence[Entry]
    queries: Sequence[tuple[str, str]]


def collected(path: Path | None) -> Asked:
    found: dict[str, Entry] = {}
    queries, rest = [], []
    for name, description, body in texts(path):
        paragraphs = [" ".join(one.split()) for one in re.split(r"\n\s*\n", body) if not one.lstrip().startswith("#")]
        prose = [one for one in paragraphs if len(one) >= SHORTEST and one[0].isalpha()]
        if not prose or name in found:
            continue
        found[name] = Entry(name, description, "0" * 16, online=False)
        own = set(name.lower().split("-"))
        queries.append((name, " ".join(word for word in prose[0][:1000].split() if word.lower() not in own)))
        rest += prose[1:]
    for number, paragraph in enumerate(rest[: SKILLS - len(found)]):
        found[f"other-{number}"] = Entry(f"other-{number}", paragraph[:1000], "0" * 16, online=False)
    return Asked(list(found.values()), queries)


def texts(path: Path | None) -> list[tuple[str, str, str]]:
    if path is None:
        return [(name, description, f"\n\n{body}\n\n") for name, (description, body) in MADE_UP.items()]
    validator, out = Validator(TreeSitter()), []
    for line in path.read_text("utf-8").splitlines():
        one = json.loads(line)
        report = validator.validate(read_bytes(one["text"].encode(), "SKILL.md"))
        body = one["text"].split("\n---", 1)[-1]
        out.append((report.manifest.name or Path(one["path"]).parent.name, report.manifest.description or "", body))
    return out


async def measured(catalogue: Catalogue, asked: Asked) -> dict[str, float]:
    first = eight = 0
    times = []
    for name, query in asked.queries:
        began = time.perf_counter()
        found = [one.name for one in await catalogue.rank(asked.entries, query, OFFERED)]
        times.append((time.perf_counter() - began) * 1000)
        first += found[:1] == [name]
        eight += name in found
    count = len(asked.queries)
    ordered = sorted(times)
    return {
        "skills": len(asked.entries),
        "queries": count,
        "r_at_1": round(100 * first / count, 1),
        "r_at_8": round(100 * eight / count, 1),
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(ordered[int(len(ordered) * 0.95)], 1),
        "first_ms": round(times[0], 1),
    }


def catalogue(embedder: Any, cache: EmbeddingCache | None) -> Catalogue:
    return Catalogue(cast(Sessions, None), cast(AgentService, None), embedder, cache)


async def run(path: Path | None) -> dict[str, dict[str, float]]:
    asked = collected(path)
    figures = {"words": await measured(catalogue(None, None), asked)}
    embedder = find_local_embedder()
    if embedder is not None:
        with tempfile.TemporaryDirectory() as folder:
            cache = EmbeddingCache(Path(folder) / "vectors", embedder.dimensions)
            figures["words and meaning, cold"] = await measured(catalogue(embedder, cache), asked)
            figures["words and meaning, warm"] = await measured(catalogue(embedder, cache), asked)
        await embedder.aclose()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    figures = asyncio.run(run(chosen.path))
    columns = list(next(iter(figures.values())))
    print(f"{'':<26}" + "".join(f"{name:>10}" for name in columns))
    for name, row in figures.items():
        print(f"{name:<26}" + "".join(f"{row[column]:>10g}" for column in columns))
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
