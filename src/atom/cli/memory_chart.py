"""How much is remembered, as a table and as bars: what is in each tier, and how old it is."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from atom.cli.output import Output
from atom.client.episodes import AgeStats, MemoryStats

WIDTH = 40
SIGNS = 30
COLOURS = {"hot": "red", "warm": "yellow", "cold": "blue"}
UNITS = ("B", "kB", "MB", "GB", "TB")


def print_stats(out: Output, stats: MemoryStats) -> None:
    """Bars of colour on a terminal, of signs elsewhere."""
    out.table(("tier", "episodes", "segments", "bytes", "share"), _rows(out, stats))
    if out.tty:
        _chart(out, "Bytes by tier, as they lie there", [(name, name, one.bytes) for name, one in stats.tiers.items()])
        _chart(out, "Bytes of texts by age", _by_age(stats.ages))
    elif stats.ages:
        out.line()
        out.table(("tier", "days", "episodes", "bytes"), ((a.tier, a.days, a.episodes, a.bytes) for a in stats.ages))
    one = stats.embedding
    if one is not None:
        former = f"; still there: {', '.join(one.former)}" if one.former else ""
        out.note(f"Vectors of {one.model}: {one.done} of {one.total} segments{former}.")
    if stats.unembedded:
        out.note(f"{stats.unembedded} segments wait for a vector.")


def _rows(out: Output, stats: MemoryStats) -> Iterator[tuple[object, ...]]:
    whole = sum(tier.bytes for tier in stats.tiers.values()) or 1
    for name, tier in stats.tiers.items():
        share = f"{100 * tier.bytes / whole:.0f} %" + (
            "" if out.tty else "  " + "#" * round(SIGNS * tier.bytes / whole)
        )
        yield name, tier.episodes, tier.segments, tier.bytes, share


def size(count: int) -> str:
    """With three digits, in units of a thousand."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {UNITS[unit]}"


def _by_age(ages: Sequence[AgeStats]) -> list[tuple[str, str, int]]:
    found: dict[int, list[AgeStats]] = defaultdict(list)
    for one in ages:
        found[one.days].append(one)
    order = list(COLOURS)
    return [
        (f"{days} days and older" if days else "younger", one.tier, one.bytes)
        for days, ones in sorted(found.items())
        for one in sorted(ones, key=lambda one: order.index(one.tier) if one.tier in order else len(order))
    ]


def _chart(out: Output, title: str, bars: Sequence[tuple[str, str, int]]) -> None:
    most = max((count for _, _, count in bars), default=0)
    if not most:
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    for label, tier, count in bars:
        bar = Bar(most, 0, count, width=WIDTH, color=COLOURS.get(tier, "white"))
        table.add_row(Text(label if label == tier else f"{label} ({tier})"), bar, Text(size(count)))
    out.line()
    out.console.print(table)
