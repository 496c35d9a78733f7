"""Secrets that are planted to be looked for, and the search: in every spelling in which one could get out."""

import base64
import json
import random
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

TAIL = 8
ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Canary:
    """`name` is what may be said of it."""

    name: str
    secret: str


@dataclass(frozen=True, slots=True)
class Leak:
    place: str
    canary: str
    form: str

    def __str__(self) -> str:
        return f"{self.place}: {self.canary} ({self.form})"


def breed(count: int, seed: int) -> list[Canary]:
    """Of the shapes that keys have, and of none: what is only found by its shape must not be what hides them."""
    chance = random.Random(seed)

    def word(length: int) -> str:
        return "".join(chance.choice(ALPHABET) for _ in range(length))

    shapes = (
        lambda: f"sk-{word(40)}",
        lambda: f"{word(16)}+/{word(16)}==/{word(9)}",
        lambda: f"AIza{word(35)}",
        lambda: f'{word(12)}"\\{word(12)}&<{word(9)}',
        lambda: word(32),
    )
    return [Canary(f"canary-{number}", shapes[number % len(shapes)]()) for number in range(count)]


def forms(secret: str) -> Iterator[tuple[str, bytes]]:
    raw = secret.encode()
    yield "plain", raw
    yield "last characters", raw[-TAIL:]
    yield "hex", raw.hex().encode()
    yield "HEX", raw.hex().upper().encode()
    yield "percent", quote(secret, safe="").encode()
    yield "percent of a form", quote_plus(secret).encode()
    yield "JSON", json.dumps(secret)[1:-1].encode()
    yield "JSON in JSON", json.dumps(json.dumps(secret))[3:-3].encode()
    yield "reversed", raw[::-1]
    for shift in range(3):  # wherever it begins in what was encoded
        for name, encode in (("base64", base64.b64encode), ("url-safe base64", base64.urlsafe_b64encode)):
            whole = encode(b"\0" * shift + raw)
            begin = (8 * shift + 5) // 6
            yield f"{name} + {shift}", whole[begin : len(whole) // 4 * 4 - 4]


@dataclass(slots=True)
class Scanner:
    """`looked` counts the bytes that were searched at each place: a search of nothing finds nothing."""

    canaries: Iterable[Canary]
    looked: dict[str, int] = field(default_factory=dict)
    leaks: list[Leak] = field(default_factory=list)
    _forms: list[tuple[Canary, str, bytes]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._forms = [(canary, name, form) for canary in self.canaries for name, form in forms(canary.secret)]

    def scan(self, place: str, found: str | bytes) -> None:
        data = found.encode("utf-8", "surrogatepass") if isinstance(found, str) else found
        self.looked[place] = self.looked.get(place, 0) + len(data)
        self.leaks += [Leak(place, canary.name, name) for canary, name, form in self._forms if form in data]

    def scan_files(self, folder: Path, *, without: Iterable[Path] = ()) -> None:
        """Every regular file below `folder`, and the names of all."""
        apart = tuple(without)
        for path in sorted(folder.rglob("*")):
            if any(path.is_relative_to(one) for one in apart):
                continue
            self.scan("names of files", str(path))
            if path.is_file() and not path.is_symlink():
                self.scan(f"file {path.relative_to(folder)}", path.read_bytes())
