"""The table of the fault matrix, for people."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.fault_runs import Observed

WRITTEN = pytest.StashKey[str]()
REPORT = Path("build/reports/llm-faults.md")
COLUMNS = ("wire", "mode", "fault", "what Atom did", "what the run showed", "attempts (Atom/fake)")
HEAD = f"""# Provider faults

Every fault on a run of its own; another provider is the next route. Attempts: rows of Atom's ledger / requests that the
fake provider counted.

| {" | ".join(COLUMNS)} |
|{" --- |" * len(COLUMNS)}
"""


def write_report(found: Iterable[Observed]) -> str:
    """A line for the end of the test run."""
    rows = sorted(found, key=lambda seen: (seen.case.number, seen.case.wire))
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(HEAD + "".join(f"| {' | '.join(_cells(seen))} |\n" for seen in rows))
    made, counted = sum(sum(seen.rows) for seen in rows), sum(sum(seen.asked) for seen in rows)
    return f"{len(rows)} runs, {made} attempts in Atom's ledger, {counted} requests at the fake provider: {REPORT}"


def _cells(seen: Observed) -> tuple[str, ...]:
    case = seen.case
    return (case.wire, case.mode, case.fault.name, _did(seen), _showed(seen), f"{sum(seen.rows)}/{sum(seen.asked)}")


def _did(seen: Observed) -> str:
    outcomes = [f"{call['provider']}: {call['error_class'] or call['outcome']}" for call in seen.calls]
    return ", then ".join(outcomes)


def _showed(seen: Observed) -> str:
    events = [kind.removeprefix("model.") for kind in ("model.failed_over", "model.restarted") if seen.of(kind)]
    end = seen.run["status"]
    if seen.run["error"]:
        end += f" ({seen.run['error']['code']})"
    instead = [data["instead_of"] for data in seen.of("model.replied") if data["instead_of"]]
    answered = f"{seen.run['provider']}" + (f" instead of {instead[0].partition('/')[0]}" if instead else "")
    return ", ".join([*events, end, *([answered] if end == "completed" else [])])
