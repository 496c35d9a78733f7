"""`atom episodes`."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from atom.cli import consolidation, episode_care
from atom.cli.memory_chart import print_stats
from atom.cli.options import After, Json, Limit, example
from atom.cli.output import Output, moment, one_line, to_json
from atom.cli.progress import bar
from atom.cli.target import connect
from atom.client.episodes import Episode, Hit, Recall
from atom.errors import InvalidError
from atom.kit.clock import rfc3339
from atom.memory.transcripts import Format, Transcript, read

app = typer.Typer()
app.add_typer(consolidation.app)
app.add_typer(episode_care.app)
EpisodeArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the episode.")]
OfAgent = Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent's.")]


class Outcome(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"
    PARTIAL = "partial"
    UNKNOWN = "unknown"


class Tier(StrEnum):
    HOT = "hot"
    WARM = "warm"
    COLD = "cold"


class Source(StrEnum):
    RUN = "run"
    API = "api"
    IMPORT = "import"
    TOOL = "tool"
    CONSOLIDATION = "consolidation"


class Mode(StrEnum):
    SEMANTIC = "semantic"
    TEMPORAL = "temporal"
    CONTEXTUAL = "contextual"


@app.command("list", epilog=example("atom episodes list --agent guide --outcome failure"))
def list_episodes(
    *,
    agent: OfAgent = None,
    outcome: Annotated[Outcome | None, typer.Option("--outcome", help="Only with this outcome.")] = None,
    tier: Annotated[Tier | None, typer.Option("--tier", help="Only those in this tier.")] = None,
    source: Annotated[Source | None, typer.Option("--source", help="Only those that were made of this.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: Json = False,
) -> None:
    """List what agents remember, the newest first."""
    out = Output.open(as_json)
    filters = {"agent": agent, "outcome": outcome and outcome.value, "tier": tier and tier.value}
    filters |= {"source": source and source.value}
    with connect() as atom:
        page = atom.call(atom.client.episodes.page(limit, after=after, **filters))
    if as_json:
        out.json(page.plain())
        return
    columns = ("id", "agent", "began", "outcome", "tier", "decay", "segments", "title")
    rows = (
        (e.id, e.agent, moment(e.started_at), e.outcome, e.storage_tier, f"{e.decay_score:.2f}", e.segments, e.title)
        for e in page.items
    )
    out.table(columns, rows)
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example("atom episodes show 0199f1c2-..."))
def show(episode_id: EpisodeArgument, *, limit: Limit = 50, after: After = None, as_json: Json = False) -> None:
    """Show an episode with its turns, verbatim."""
    out = Output.open(as_json)
    with connect() as atom:
        episode = atom.call(atom.client.episodes.get(episode_id))
        page = atom.call(atom.client.episodes.segments(episode_id, limit, after=after))
    if as_json:
        out.json({**episode.plain(), "turns": page.plain()})
        return
    _print_episode(out, episode)
    for turn in page.items:
        out.line()
        out.line(f"{turn.position}  {moment(turn.at)}  {turn.speaker} ({turn.kind})", "bold")
        out.line(turn.text)
    if page.next:
        out.note(f"More: --after {page.next}")


@app.command(epilog=example('atom episodes search guide "Where is the backup key?"'))
def search(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Whose memory: its name or id.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What is to be found; may be empty with times.")] = "",
    *,
    mode: Annotated[Mode | None, typer.Option("--mode", help="How: by meaning, by time, or for a task.")] = None,
    outcome: Annotated[Outcome | None, typer.Option("--outcome", help="Only with this outcome.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Not before: 2026-05-04T09:00Z.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.")] = None,
    around: Annotated[
        str | None, typer.Option("--around", metavar="TIME", help="The nearest to this time first.")
    ] = None,
    limit: Limit = 10,
    as_json: Json = False,
) -> None:
    """Search what an agent remembers; each hit says why it is one."""
    out = Output.open(as_json)
    times = {"since": since, "until": until, "around": around}
    if not (query.strip() or any(times.values())):
        raise InvalidError("QUERY: is empty.", hint="Say what is to be found, or give --since, --until or --around.")
    if query.strip() and around:
        raise InvalidError("--around: it is for a search without a QUERY.", hint="Use --since and --until with one.")
    chosen = mode or (Mode.SEMANTIC if query.strip() else Mode.TEMPORAL)
    fields: dict[str, Any] = {"mode": chosen.value, "limit": limit}
    fields |= {"outcomes": [outcome.value]} if outcome else {}
    fields |= {name: _time(given, name) for name, given in times.items() if given}
    with connect() as atom:
        recalled = atom.call(atom.client.episodes.recall(agent, query, **fields))
    if as_json:
        out.json(recalled.plain())
        return
    _print_recall(out, recalled)


@app.command(epilog=example("atom episodes stats"))
def stats(*, agent: OfAgent = None, as_json: Json = False) -> None:
    """Show how much is remembered in each tier."""
    out = Output.open(as_json)
    with connect() as atom:
        found = atom.call(atom.client.episodes.stats(agent, ages=True))
    if as_json:
        out.json(found.plain())
        return
    print_stats(out, found)


@app.command(epilog=example("atom episodes rate 0199f1c2-... -- -0.5"))
def rate(
    episode_id: EpisodeArgument,
    feedback: Annotated[float, typer.Argument(metavar="FEEDBACK", help="From -1 to 1; `--` before a negative one.")],
    *,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why; kept with it.")] = None,
    as_json: Json = False,
) -> None:
    """Say what an episode is worth. The last word counts."""
    with connect() as atom:
        episode = atom.call(atom.client.episodes.rate(episode_id, feedback, note=note))
    out = Output.open(as_json)
    if as_json:
        out.json(episode.plain())
        return
    out.line(f"{episode.id} feedback {episode.feedback:g}, importance {episode.importance:.2f}")


@app.command("import", epilog=example("atom episodes import guide chats.jsonl --format jsonl"))
def import_file(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Who is to remember it: a name or id.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The transcripts.", exists=True, dir_okay=False)],
    *,
    format_: Annotated[Format, typer.Option("--format", help="How the file is written.")] = Format.JSONL,
    keep_labels: Annotated[
        bool, typer.Option("--keep-labels", help="The file is an export of yours: you vouch for the labels in it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import transcripts of chats. What was imported before is left as it is, so a cut import is simply repeated."""
    out = Output.open(as_json)
    found = read(_text(file), format_, now=datetime.now(UTC))
    created = 0
    with connect() as atom, bar(out.notes, "Importing") as advance:
        for number, one in enumerate(found):
            advance(number, len(found))
            created += atom.call(
                atom.client.episodes.write(agent, _turns(one), **_fields(one, file, keep_labels=keep_labels))
            ).created
        advance(len(found), len(found))
    if as_json:
        out.json({"episodes": len(found), "created": created, "known": len(found) - created})
        return
    out.line(f"{created} imported, {len(found) - created} known before")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"{file}: it cannot be read as UTF-8 text ({error}).") from error


def _turns(one: Transcript) -> list[dict[str, Any]]:
    return [
        {"speaker": turn.speaker, "text": turn.text, "at": turn.at.isoformat(), "kind": turn.kind, "ref": turn.ref}
        for turn in one.turns
    ]


def _fields(one: Transcript, file: Path, *, keep_labels: bool) -> dict[str, Any]:
    said: dict[str, Any] = {
        "title": one.title,
        "outcome": one.outcome,
        "summary": one.summary,
        "importance": one.importance,
    }
    if one.labels is not None:
        said["labels"] = list(one.labels) if keep_labels else sorted({*one.labels, "untrusted"})
    known = {name: value for name, value in said.items() if value is not None}
    return {**known, "ref": one.ref, "imported": True, "provenance": {**one.provenance, "file": file.name}}


def _time(given: str, name: str) -> str:
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        raise InvalidError(f"--{name}: {given[:60]!r} is no time.", hint="As in 2026-05-04T09:00Z.") from None
    return rfc3339(found if found.tzinfo else found.replace(tzinfo=UTC))


def _print_episode(out: Output, episode: Episode) -> None:
    out.fields(
        [
            ("episode", episode.id),
            ("agent", episode.agent),
            ("title", episode.title),
            ("summary", episode.summary),
            ("outcome", episode.outcome),
            ("importance", f"{episode.importance:.2f}"),
            ("feedback", episode.feedback),
            ("labels", " ".join(episode.labels)),
            ("source", episode.source),
            ("run", episode.run_id),
            ("began", moment(episode.started_at)),
            ("ended", moment(episode.ended_at)),
            ("tier", episode.storage_tier),
            ("segments", episode.segments),
            ("recalled", episode.access_count),
            ("decay score", f"{episode.decay_score:.2f}, half after {episode.stability_days:.0f} days"),
            ("entities", ", ".join(episode.entities)),
            ("provenance", to_json(episode.provenance)),
        ]
    )


def _print_recall(out: Output, recalled: Recall) -> None:
    rows = ((_score(hit), hit.reason, moment(hit.at), hit.speaker, _why(hit), hit.text) for hit in recalled.items)
    out.table(("score", "reason", "at", "speaker", "why", "text"), rows)
    away = [hit for hit in recalled.items if hit.body == "away"]
    if away:
        out.note(f"{len(away)} of them show summaries: their texts are away ({away[0].away_reason}).")
    if recalled.words_only:
        out.note(f"By words only ({recalled.words_only}): see `docs/operate/memory.md`.")
    if recalled.re_embedding:
        out.note("The embedding model is being changed (atom episodes stats): some were found by words only.")
    if recalled.cut:
        out.note("There is more: --limit")


def _score(hit: Hit) -> str:
    return "-" if hit.score is None else f"{hit.score:.2f}"


def _why(hit: Hit) -> str:
    if hit.why is None:
        return "-"
    cosine = hit.why.get("cosine")
    near = "" if cosine is None else f" cos {cosine:.2f}"
    named = "".join(f" {name}" for name in ("speaker", "time") if hit.why.get(name))
    return one_line(f"bm25 {hit.why.get('lexical', 0.0):.1f}{near}{named} {' '.join(hit.terms)}".strip(), 60)
