"""`make bench`: runs every bench/*.py, shows one table, keeps the numbers in build/bench.

A bench file is a program that takes `--json FILE` and writes its report there: nested objects whose numbers are shown
with their path as name, or, for numbers that have a goal, `{"rows": [{"name": "cold start", "value": 1.9, "unit": "s",
"goal": 5, "better": "lower"}, ...]}`. Both may be in one report.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "bench"
TIMEOUT = 1800  # seconds for one file


@dataclass(frozen=True, slots=True)
class Row:
    """One number. `met` is None where there is no goal."""

    bench: str
    name: str
    value: float
    unit: str = ""
    goal: float | None = None
    better: str = "lower"

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal


class BenchError(Exception):
    """A bench file did not do its part."""


def rows(bench: str, report: object) -> list[Row]:
    """The numbers of a report: its rows, and every other number by its path."""
    if not isinstance(report, dict):
        raise BenchError(f"{bench}: its report is not an object")
    try:
        given = [Row(bench=bench, **row) for row in report.get("rows", [])]
    except TypeError as error:
        raise BenchError(f"{bench}: a row of its report is malformed: {error}") from error
    rest = {key: value for key, value in report.items() if key != "rows"}
    found = given + [Row(bench, name, value) for name, value in numbers(rest)]
    if not found:
        raise BenchError(f"{bench}: its report has no number")
    return found


def numbers(value: object, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{path} {key}".strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def measure(file: Path) -> list[Row]:
    OUT.mkdir(parents=True, exist_ok=True)
    report, log = OUT / f"{file.stem}.json", OUT / f"{file.stem}.log"
    report.unlink(missing_ok=True)
    command = [sys.executable, str(file.relative_to(ROOT)), "--json", str(report)]
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False)
    if done.returncode or not report.is_file():
        raise BenchError(f"{file.stem}: exit {done.returncode}, see {log.relative_to(ROOT)}")
    return rows(file.stem, json.loads(report.read_text(encoding="utf-8")))


def line(row: Row) -> str:
    goal = "" if row.goal is None else f"{'<=' if row.better == 'lower' else '>='} {row.goal:g}"
    verdict = {None: "", True: "met", False: "MISSED"}[row.met]
    return f"{row.bench:<14} {row.name:<44} {row.value:>12,.3f} {row.unit:<10} {goal:>12} {verdict}".rstrip()


def summary(measured: list[Row]) -> str:
    machine = {"system": platform.platform(), "python": platform.python_version(), "cpus": cpu_count()}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"at": at, "machine": machine, "rows": [asdict(row) for row in measured]}, indent=2) + "\n"


def main(names: list[str]) -> int:
    files = [file for file in sorted((ROOT / "bench").glob("*.py")) if not names or file.stem in names]
    if not files:
        print("bench: there is no such file in bench/", file=sys.stderr)
        return 2
    failures: list[str] = []
    measured: list[Row] = []
    for file in files:
        print(f"bench: {file.stem} ...", flush=True)
        try:
            found = measure(file)
        except (BenchError, subprocess.TimeoutExpired, ValueError) as error:
            failures.append(f"bench: {error}")
            continue
        measured += found
        print("\n".join(line(row) for row in found), flush=True)
    (OUT / "summary.json").write_text(summary(measured), encoding="utf-8")
    missed = sum(row.met is False for row in measured)
    print("\n".join([*failures, f"bench: {len(files)} files, {missed} goals missed; numbers in build/bench"]))
    return 1 if failures or missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
