"""`make campaign`: every test, property tests with full volumes, and 20 canaries in the places of the tests' keys.

Afterwards none of the canaries may be in anything that the whole suite has left: see tests/support/canary_watch.py.
Seeds are printed; an interrupted campaign goes on.

The state is build/campaign/state.json. The same seed gives the same examples: `make campaign ARGS="--seed 42"`.
"""

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scripts.house import canaries

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / "build" / "campaign" / "state.json"
REPORTS = "canaries"  # beside it: what the watch for canaries has seen of each file
MORE = {  # volumes of tests that are not property tests
    "CRASH_POINTS": "all",
    "CANCELLATIONS": "1000",
    "VAULT_VOLUME": "all",
    "MEMORY_VOLUME": "all",
    "LLM_FAULTS": "all",
    "PARALLEL_RUNS": "100",
    "REVOCATION_DECISIONS": "10000",
    "AUDIT_TRIALS": "100",
    "TRIGGER_ROUNDS": "200",
    "MEMORY_SCALE": "all",
}
FILE_TIMEOUT = 7200  # seconds for one test file


@dataclass(frozen=True, slots=True)
class Outcome:
    passed: bool
    seconds: float
    summary: str


@dataclass(slots=True)
class Campaign:
    """`done` maps a test file to its outcome. It is written after every file."""

    seed: int
    examples: int
    done: dict[str, Outcome] = field(default_factory=dict)

    def save(self) -> None:
        STATE.parent.mkdir(parents=True, exist_ok=True)
        fresh = STATE.with_suffix(".part")
        fresh.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        fresh.replace(STATE)


def load() -> Campaign | None:
    if not STATE.is_file():
        return None
    state = json.loads(STATE.read_text(encoding="utf-8"))
    return Campaign(state["seed"], state["examples"], {name: Outcome(**one) for name, one in state["done"].items()})


def property_tests(root: Path) -> list[str]:
    """Test files that use hypothesis, and those that take more points in a campaign: the ones that take long."""
    signs = ("from hypothesis", *MORE)
    found = [
        path
        for path in sorted((root / "tests").rglob("test_*.py"))
        if any(sign in path.read_text("utf-8") for sign in signs)
    ]
    return [path.relative_to(root).as_posix() for path in found]


def test_files(root: Path) -> list[str]:
    """All of them; those that take long in a campaign come last."""
    every = [path.relative_to(root).as_posix() for path in sorted((root / "tests").rglob("test_*.py"))]
    large = set(property_tests(root))
    return sorted(every, key=lambda file: (file in large, file))


def begin(files: list[str], options: argparse.Namespace) -> Campaign:
    """The interrupted campaign, when it is the one that is asked for; else a new one."""
    old = load()
    same = old is not None and options.seed in {None, old.seed} and options.examples == old.examples
    if old and same and not options.new and set(files) - set(old.done):
        print(f"campaign: goes on, seed {old.seed}, {len(old.done)} of {len(files)} files done")
        return old
    shutil.rmtree(STATE.parent / REPORTS, ignore_errors=True)
    campaign = Campaign(options.seed if options.seed is not None else secrets.randbelow(2**32), options.examples)
    print(f"campaign: seed {campaign.seed}, {campaign.examples} examples a property, {len(files)} files")
    return campaign


def run(file: str, campaign: Campaign) -> Outcome:
    command = [sys.executable, "-m", "pytest", file, "-p", "scripts.house.campaign_profile", "--timeout=0"]
    command += ["-p", canaries.PLUGIN]
    command += ["--hypothesis-profile=volume", f"--hypothesis-seed={campaign.seed}"]
    planted = canaries.variables(campaign.seed, canaries.report_of(STATE.parent / REPORTS, file))
    environment = {**os.environ, **MORE, **planted, "CAMPAIGN_EXAMPLES": str(campaign.examples)}
    begun = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=FILE_TIMEOUT, check=False
    )
    passed = done.returncode == 0
    if not passed:
        print(done.stdout)
    return Outcome(passed, round(time.monotonic() - begun, 1), done.stdout.strip().rpartition("\n")[2])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="campaign", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="replay a campaign; default: a new one, printed")
    parser.add_argument("--examples", type=int, default=10_000, help="examples of each property (10000)")
    parser.add_argument("--new", action="store_true", help="forget an interrupted campaign")
    options = parser.parse_args(arguments)
    files = test_files(ROOT)
    campaign = begin(files, options)
    campaign.save()
    for file in files:
        if file not in campaign.done:
            outcome = run(file, campaign)
            campaign.done[file] = outcome
            campaign.save()
            print(
                f"campaign: {'ok  ' if outcome.passed else 'FAIL'} {file} {outcome.seconds} s: {outcome.summary}",
                flush=True,
            )
    failed = [file for file, outcome in campaign.done.items() if not outcome.passed]
    print(
        f"campaign: {len(campaign.done)} files, {len(failed)} failed, seed {campaign.seed}; "
        f"state in {STATE.relative_to(ROOT)}"
    )
    faults = search(campaign, files)
    return 1 if failed or faults else 0


def search(campaign: Campaign, files: list[str]) -> list[str]:
    """Says what the canaries came to. Returns why they have failed, if they have."""
    found = canaries.add_up(campaign.seed, STATE.parent / REPORTS, files)
    canaries.write(found, STATE.parent / "canaries.json")
    for line in found.lines():
        print(f"canaries: {line}")
    for fault in found.faults:
        print(f"canaries: FAIL {fault}")
    return found.faults


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\ncampaign: interrupted; `make campaign` goes on with the files that are left", file=sys.stderr)
        sys.exit(130)
