"""`atom agents readiness`, `evidence`, `promote`, `demote`, `train`; `atom runs rate`."""

from enum import StrEnum
from typing import Annotated

import typer

from atom.cli.options import After, AgentArgument, Json, Limit, RunArgument, example
from atom.cli.output import Output, moment, one_line, to_json
from atom.cli.target import connect
from atom.client.maturity import Criterion, Rating, Readiness, Standing
from atom.errors import InvalidError
from atom.governance.models import ActionClass

OfClass = Annotated[
    ActionClass | None, typer.Option("--class", help="Only this class of actions, not the agent as a whole.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the change.")]
Good = Annotated[bool, typer.Option("--good", help="It did what was wanted.")]
Bad = Annotated[bool, typer.Option("--bad", help="It did not.")]
Score = Annotated[
    float | None, typer.Option("--score", metavar="0..1", min=0, max=1, help="Something in between: 1 is good.")
]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why; kept with it.")]


class EvidenceKind(StrEnum):
    RATED = "rated"
    FAILURE = "failure"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    INTERVENTION = "intervention"
    VIOLATION = "violation"


def add_to_agents(app: typer.Typer) -> None:
    app.command(epilog=example("atom agents readiness guide"))(readiness)
    app.command(epilog=example("atom agents evidence guide --kind violation"))(evidence)
    app.command(epilog=example('atom agents promote guide --reason "ten good runs on the help desk"'))(promote)
    app.command(epilog=example('atom agents demote guide --reason "it was moved to another team"'))(demote)
    app.command(epilog=example('atom agents train guide "Answer the open tickets."'))(train)


def add_to_runs(app: typer.Typer) -> None:
    app.command(epilog=example("atom runs rate 0199f1c2-... --good"))(rate)


def readiness(agent: AgentArgument, *, of_class: OfClass = None, as_json: Json = False) -> None:
    """Show what the evidence says about an agent's next maturity, criterion by criterion."""
    with connect() as atom:
        found = atom.call(atom.client.maturity.readiness(agent, action_class=of_class))
    print_readiness(Output.open(as_json), found)


def evidence(
    agent: AgentArgument,
    *,
    kind: Annotated[EvidenceKind | None, typer.Option("--kind", help="Only evidence of this kind.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List an agent's evidence, the newest first."""
    out = Output.open(as_json)
    with connect() as atom:
        page = atom.call(atom.client.maturity.evidence(agent, limit, after=after, kind=kind))
    if as_json:
        out.json(page.plain())
        return
    rows = (
        (
            one.kind if one.counts else f"({one.kind})",
            "-" if one.score is None else f"{one.score:g}",
            moment(one.at),
            one.by,
            one.action_class or "-",
            one.run_id or "-",
            to_json(one.data),
        )
        for one in page.items
    )
    out.table(("kind", "score", "at", "by", "class", "run", "data"), rows)
    if page.next:
        out.note(f"More: --after {page.next}")


def promote(
    agent: AgentArgument,
    *,
    reason: Reason,
    of_class: OfClass = None,
    override: Annotated[
        bool, typer.Option("--override", help="Although the evidence does not reach. It is recorded as such.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not show the evidence, do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Promote an agent by one rung, with the evidence in front of you."""
    out = Output.open(as_json)
    with connect() as atom:
        if not yes:
            found = atom.call(atom.client.maturity.readiness(agent, action_class=of_class))
            out.notes.print(readiness_text(found), soft_wrap=True, highlight=False, markup=False)
            typer.confirm(f"Promote {found.agent} to {found.target or 'what is above'}?", abort=True, err=True)
        standing = atom.call(atom.client.maturity.promote(agent, reason, action_class=of_class, override=override))
    _print_standing(out, standing)


def demote(agent: AgentArgument, *, reason: Reason, of_class: OfClass = None, as_json: Json = False) -> None:
    """Demote an agent by one rung, at once and everywhere."""
    with connect() as atom:
        standing = atom.call(atom.client.maturity.demote(agent, reason, action_class=of_class))
    _print_standing(Output.open(as_json), standing)


def train(
    agent: AgentArgument,
    task: Annotated[str, typer.Argument(metavar="TASK", help="What somebody is to do with the agent.")],
    *,
    as_json: Json = False,
) -> None:
    """Propose a task for training: a person works on it with the agent, and rates it."""
    out = Output.open(as_json)
    with connect() as atom:
        made = atom.call(atom.client.training.propose(agent, task))
    if as_json:
        out.json(made.plain())
        return
    out.line(made.id)
    out.note(f"Begin: atom training open {made.id}")


def rate(
    run_id: RunArgument,
    *,
    good: Good = False,
    bad: Bad = False,
    score: Score = None,
    note: Note = None,
    as_json: Json = False,
) -> None:
    """Say how good a completed run was. It can be said anew: the latest word counts."""
    value = chosen_score(good, bad, score)
    with connect() as atom:
        rated = atom.call(atom.client.maturity.rate(run_id, value, note=note))
    _print_rating(Output.open(as_json), rated)


def chosen_score(good: bool, bad: bool, score: float | None) -> float:
    """Raises InvalidError unless exactly one of them is given."""
    given = [name for name, there in (("--good", good), ("--bad", bad), ("--score", score is not None)) if there]
    if len(given) != 1:
        raise InvalidError(
            f"{' and '.join(given)} are both given." if given else "No rating is given.",
            hint="Say one of --good, --bad, --score 0..1.",
        )
    return score if score is not None else float(good)


def print_readiness(out: Output, found: Readiness) -> None:
    if out.as_json:
        out.json(found.plain())
        return
    out.line(readiness_text(found))


def readiness_text(found: Readiness) -> str:
    """The evidence as a person reads it before they decide."""
    where = f" in {found.action_class}" if found.action_class else ""
    lines = [f"{found.agent} is {found.maturity}{where}."]
    if found.target is None:
        lines.append("There is nothing above.")
    else:
        lines.append(f"{'Ready' if found.ready else 'Not ready'} to be {found.target}:")
        lines += [_criterion(one) for one in found.criteria]
    counts = found.counts
    lines.append(
        f"Evidence: {counts.episodes} episodes ({counts.successes:g} successes), {counts.intervened} of"
        f" {counts.judged} runs with an intervention; approvals {counts.approved} unchanged, {counts.edited} edited,"
        f" {counts.rejected} rejected; {counts.violations} violations."
    )
    if found.since is not None:
        since = found.since
        lines.append(
            f"Counted since {moment(since.at)}: {since.how} from {since.before} to {since.after} by {since.by}"
            f" ({one_line(since.reason, 200)})."
        )
    lower = [f"{name} {level}" for name, level in found.classes.items() if level != found.maturity]
    if lower and not found.action_class:
        lines.append(f"Less by class: {', '.join(lower)}.")
    lines.append(f"All of it: atom agents evidence {found.agent}")
    return "\n".join(lines)


def _criterion(one: Criterion) -> str:
    value = "none yet" if one.value is None else f"{one.value:.4g}"
    bound = "at least" if one.at_least else "at most"
    return f"  {'met  ' if one.met else 'UNMET'}  {one.name:<17}  {value:<8}  {bound} {one.needed:g}"


def _print_standing(out: Output, standing: Standing) -> None:
    if out.as_json:
        out.json(standing.plain())
        return
    out.line(f"{standing.agent} is {standing.maturity} (version {standing.agent_version}).")
    lower = [f"{name} {level}" for name, level in standing.classes.items() if level != standing.maturity]
    if lower:
        out.line(f"Less by class: {', '.join(lower)}.")


def _print_rating(out: Output, rated: Rating) -> None:
    if out.as_json:
        out.json(rated.plain())
        return
    out.line(f"{rated.run_id} rated {rated.score:g} by {rated.by}")
