"""What the terminal sees: styled on a terminal, plain and one record a line when piped, JSON when asked for."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

# Text from models, tools and servers must not move the cursor, retitle the window or reorder what is read.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
CELL = 500
LEAST = 8  # what a narrow terminal leaves of a cell


def visible(text: str) -> str:
    """`text` with its control characters spelled out; line ends and tabs stay."""
    return UNSAFE.sub(lambda match: "" if match[0] == "\r" else _spelled(match[0]), text)


def one_line(value: object, limit: int = CELL) -> str:
    text = " ".join(visible("" if value is None else str(value)).split())
    return text if len(text) <= limit else text[: limit - 1] + "\u2026"


def dollars(amount: str | Decimal) -> str:
    """All its digits, and no more: fractions of a cent are what calls cost."""
    return f"${Decimal(amount).normalize():,f}"


def moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else "-"


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON in which no character can act on a terminal or fail to be encoded: those are escaped."""
    return UNSAFE.sub(
        lambda match: match[0] if match[0] in "\n\r" else f"\\u{ord(match[0]):04x}",
        json.dumps(value, ensure_ascii=False, indent=indent, default=str),
    )


@dataclass(frozen=True, slots=True)
class Output:
    """`console` is stdout: results. `notes` is stderr: what a person wants to know beside them."""

    as_json: bool
    console: Console
    notes: Console

    @classmethod
    def open(cls, as_json: bool) -> "Output":
        return cls(as_json, _console(stderr=False), _console(stderr=True))

    @property
    def tty(self) -> bool:
        return self.console.is_terminal

    def json(self, value: Any) -> None:
        print(to_json(value, indent=2 if self.tty else None))

    def write(self, text: str, style: str = "") -> None:
        """Text without a line end, at once."""
        if style and self.tty:
            self.console.print(Text(visible(text), style), end="", soft_wrap=True)
        else:
            sys.stdout.write(visible(text))
        sys.stdout.flush()

    def line(self, text: str = "", style: str = "") -> None:
        self.write(f"{text}\n", style)

    def note(self, text: str, style: str = "dim") -> None:
        self.notes.print(Text(visible(text), style), soft_wrap=True)

    def fields(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Names and values, a pair a line; values that are absent are left out."""
        rows = [(name, one_line(value, 10_000)) for name, value in pairs if value not in {None, ""}]
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            self.write(f"{name:<{width}}  ", "bold")
            self.line(value)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A row a line, never wrapped. On a terminal cells are cut so that rows fit; in a pipe they are whole."""
        cells = [[one_line(value) for value in row] for row in rows]
        widths = [max(cell_len(line[number]) for line in [columns, *cells]) for number in range(len(columns))]
        if self.tty:
            widths = fit(widths, self.console.width)
        for number, line in enumerate([[column.upper() for column in columns], *cells]):
            text = "  ".join(_cell(cell, width) for cell, width in zip(line, widths, strict=True))
            self.line(text.rstrip(), "" if number else "bold")


def fit(widths: Sequence[int], room: int) -> list[int]:
    """Widths whose row fits `room`: the last column gives first, the first (an id or a name) never."""
    fitted = list(widths)
    for number in range(len(fitted) - 1, 0, -1):
        excess = sum(fitted) + 2 * (len(fitted) - 1) - room
        fitted[number] -= max(0, min(excess, fitted[number] - LEAST))
    return fitted


def _cell(text: str, width: int) -> str:
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "\u2026"


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr, force_terminal=stream.isatty(), highlight=False, markup=False, emoji=False, soft_wrap=True
    )


def _spelled(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
