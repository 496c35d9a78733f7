"""`atom skills`."""

import typer

from atom.cli import sandbox
from atom.cli.failures import NO
from atom.cli.options import Json, example
from atom.cli.output import Output
from atom.cli.skill_path import SkillPath, existing, unread
from atom.cli.skill_runs import add_runs
from atom.cli.skills_build import build
from atom.cli.skills_registry import add_to_skills
from atom.cli.skills_scan import scan
from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.reading import read_path
from atom.skills.errors import BundleError
from atom.skills.findings import Finding, Severity
from atom.skills.validation.service import Report, Validator

app = typer.Typer()
STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "dim"}
add_to_skills(app)
add_runs(app)
app.command(epilog=example("atom skills build ./my-skill"))(build)
app.command(epilog=example("atom skills scan ./my-skill"))(scan)
app.add_typer(sandbox.app, name="sandbox")


@app.callback()
def skills() -> None:
    """Bundles of instructions and scripts."""


@app.command(epilog=example("atom skills validate ./my-skill"))
def validate(
    path: SkillPath,
    *,
    as_json: Json = False,
) -> None:
    """Check a skill against the specification; no server is asked, and nothing of it is executed. Exits 1 on errors."""
    out = Output.open(as_json)
    try:
        report = Validator(TreeSitter()).validate(read_path(existing(path)))
    except BundleError as error:
        raise unread(error, as_json=as_json) from error
    if as_json:
        out.json({"path": str(path), **report.plain()})
    else:
        _print(out, report)
    if not report.valid:
        raise typer.Exit(NO)


def _print(out: Output, report: Report) -> None:
    for one in report.findings:
        out.line(_one(one), STYLES[one.severity])
        out.line(f"    {one.fix}")
    counts = ", ".join(_many(count, name) for name, count in report.counts.items() if name != "info")
    name = report.manifest.name or "The skill"
    out.line(f"{name} is {'valid' if report.valid else 'not valid'}: {counts}.", "bold")
    mended = sum(one.severity is Severity.ERROR and one.mended for one in report.findings)
    if mended:
        out.note(f"Mended when it is imported: {_many(mended, 'error')}.")
    out.note(f"{_many(len(report.bundle.files), 'file')}, {report.bundle.size} bytes, {report.bundle.digest}")


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _one(finding: Finding) -> str:
    return f"{finding.place}: {finding.severity.value}: {finding.message} [{finding.rule.value}]"
