"""The canaries of a campaign: what was looked at in the whole suite, and whether that is enough to say anything.

Each test file leaves a report, which `tests/support/canary_watch.py` writes. Their sum is build/campaign/canaries.json.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

PLUGIN = "tests.support.canary_watch"
COUNT = 20
KINDS = (  # of what was looked at; where there was none of one, nothing is known about it
    "answers",
    "database",
    "error bodies",
    "files",
    "headers",
    "log files",
    "metrics",
    "names of files",
    "output of commands",
    "output of tests",
    "Redis",
)
TABLES = (  # that must have had rows
    "agent_execution",
    "audit_entry",
    "event",
    "execution_step",
    "job",
    "llm_call",
    "procrastinate_jobs",
    "provider_key",
    "vault_kek",
)


@dataclass(slots=True)
class Sum:
    """`kinds`: places and bytes of each; `tables`: rows of each; `used`: how often each canary was made use of."""

    seed: int
    files: int = 0
    silent: list[str] = field(default_factory=list)  # test files that left no report
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    tables: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Why the canaries have failed; empty when they have not."""
        nothing = [kind for kind in KINDS if not self.kinds.get(kind, Counter())["bytes"]]
        empty = [table for table in TABLES if not self.tables[table]]
        return [
            *self.leaks,
            *(f"{file}: no report of what it left" for file in self.silent),
            *(f"nothing was looked at: {kind}" for kind in nothing),
            *(f"no row was looked at: table {table}" for table in empty),
            *([f"{len(self.used)} of {COUNT} canaries were made use of"] if len(self.used) < COUNT else []),
        ]

    def lines(self) -> list[str]:
        said = [
            f"{kind}: {count['places']} places, {count['bytes']} bytes" for kind, count in sorted(self.kinds.items())
        ]
        rows = sum(self.tables.values())
        used = f"{len(self.used)} of {COUNT} canaries made use of {sum(self.used.values())} times"
        came_to = f"{len(self.unread)} places could not be read, {len(self.leaks)} leaks"
        return [*said, f"{len(self.tables)} tables with {rows} rows, {used}, {came_to}"]


def variables(seed: int, report: Path) -> Mapping[str, str]:
    return {"PLANT_SEED": str(seed), "PLANT_REPORT": os.fspath(report)}


def report_of(folder: Path, file: str) -> Path:
    return folder / f"{file.replace('/', '.')}.json"


def add_up(seed: int, folder: Path, files: Iterable[str]) -> Sum:
    found = Sum(seed)
    for file in files:
        path = report_of(folder, file)
        if not path.is_file():
            found.silent.append(file)
            continue
        report = json.loads(path.read_text(encoding="utf-8"))
        found.files += 1
        for kind, count in report["kinds"].items():
            found.kinds.setdefault(kind, Counter()).update(count)
        found.tables.update(report["tables"])
        found.used.update(report["used"])
        found.leaks += report["leaks"]
        found.unread += report["unread"]
    return found


def write(found: Sum, path: Path) -> None:
    values = {name.name: getattr(found, name.name) for name in fields(found)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**values, "faults": found.faults}, indent=1) + "\n", encoding="utf-8")
