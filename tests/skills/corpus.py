"""Skills of a community as they were published: ATOM_TEST_SKILLS names the file, else it lies beside the checkout."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BESIDE = Path(__file__).parents[2].parent / "shared" / "data" / "community-skills.jsonl"
PLACE = Path(os.environ.get("ATOM_TEST_SKILLS") or BESIDE)


@dataclass(frozen=True, slots=True)
class Published:
    """`files` are the paths beside the manifest, whose contents are not in the corpus."""

    folder: str
    files: Sequence[str]
    text: str


@cache
def published() -> tuple[Published, ...]:
    """Empty when the corpus is not here."""
    return tuple(_read(PLACE)) if PLACE.is_file() else ()


def _read(place: Path) -> Iterator[Published]:
    for line in place.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        yield Published(Path(one["path"]).parent.name, one["files"], one["text"])
