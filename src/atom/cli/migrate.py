"""`atom migrate`: bring the schema up."""

from atom.cli.database import check_url, open_database
from atom.cli.options import Json
from atom.cli.output import Output
from atom.infra import log
from atom.infra.schema import migrate as bring_up
from atom.settings import load


def migrate(as_json: Json = False) -> None:
    """Bring the database to this version's schema. Safe to run from several places at once: one does it."""
    settings = load()
    check_url(settings)
    log.configure(settings.logging.level, settings.logging.file, stdout=False)
    with open_database(settings, share=True) as database:
        done = bring_up(database.direct)
    out = Output.open(as_json)
    if as_json:
        out.json({"before": done.before, "after": done.after, "changed": done.before != done.after})
        return
    before = done.before or "an empty database"
    out.line(
        f"Schema {done.after}: nothing to do." if done.before == done.after else f"Schema {before} -> {done.after}."
    )
