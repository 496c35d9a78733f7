"""Hits of a recall as a model reads them: data, line by line marked as such, so that no text in it can end it. Pure."""

from collections.abc import Sequence
from itertools import groupby

from atom.governance.models import Label
from atom.kit.clock import rfc3339
from atom.memory.hits import Hit, Reason

MARK = "| "
REASONS = {
    Reason.SIMILAR: "it is similar",
    Reason.RECENT: "it is recent",
    Reason.WENT_WRONG: "it is similar, and went wrong",
    Reason.IN_TIME: "of that time",
    Reason.IN_ORDER: "in order",
}


def shown(hits: Sequence[Hit]) -> str:
    """Every episode with its hits below it, in the order of the hits."""
    rows: list[str] = []
    for _, group in groupby(hits, lambda hit: hit.episode_id):
        found = list(group)
        rows.append(head(found[0]))
        rows += [row for hit in found for row in _quoted(hit)]
    return "\n".join(rows)


def head(hit: Hit) -> str:
    """An episode without a word of what stands in it: its title may be from anywhere."""
    known = ", ".join(sorted(hit.labels - {Label.TRUSTED})) or "nothing from outside in it"
    return f"Episode {hit.episode_id} of {rfc3339(hit.at)}, outcome {hit.outcome}, {known} ({REASONS[hit.reason]}):"


def _quoted(hit: Hit) -> list[str]:
    away = "" if hit.away is None else " [the summary of its episode: what was said is not to be had just now]"
    said = f"{hit.speaker} ({hit.kind}){away}: {hit.text}"
    return [MARK + line for line in said.splitlines() or [""]]
