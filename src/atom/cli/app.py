"""The command `atom`. A command's module is imported when that command runs, so that the others cost it nothing."""

import importlib
import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command, get_command_from_info, get_group_from_info
from typer.models import CommandInfo, TyperInfo

from atom.cli.failures import NO, PIPE_CLOSED, broke, failed, misused
from atom.cli.options import example
from atom.errors import AtomError, InvalidError


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is (`module:attribute`, a function or a Typer app), and what the list of commands says of it."""

    target: str
    help: str
    example: str


COMMANDS = {
    "up": Entry("atom.cli.up:up", "Start Atom here, with everything it needs, and serve.", "atom up --port 8000"),
    "down": Entry("atom.cli.down:down", "End the Atom that `atom up` started here.", "atom down"),
    "serve": Entry("atom.cli.serve:serve", "Serve the API against a database that is there.", "atom serve --port 8000"),
    "worker": Entry("atom.cli.serve:worker", "Work on runs and jobs, without the API.", "atom worker"),
    "env": Entry("atom.cli.env:env", "Print shell lines that point psql and atom here.", 'eval "$(atom env)"'),
    "migrate": Entry("atom.cli.migrate:migrate", "Bring the database to this version's schema.", "atom migrate"),
    "run": Entry(
        "atom.cli.run:run",
        "Give an agent a task and watch it work.",
        'atom run guide "Which command switches to the backup LLM provider?"',
    ),
    "runs": Entry("atom.cli.runs:app", "List, show, follow and cancel runs.", "atom runs list --status running"),
    "agents": Entry("atom.cli.agents:app", "Create and look after agents.", "atom agents list"),
    "approvals": Entry("atom.cli.approvals:app", "Decide what agents ask for.", "atom approvals list"),
    "webhooks": Entry(
        "atom.cli.webhooks:app",
        "Tell other systems what waits, and what is decided.",
        "atom webhooks add chat https://chat.example.com/atom",
    ),
    "training": Entry(
        "atom.cli.training:app", "Work on tasks with agents, and rate them.", "atom training list --status proposed"
    ),
    "audit": Entry("atom.cli.audit:app", "Read the audit chain, and prove that it is whole.", "atom audit verify"),
    "triggers": Entry("atom.cli.triggers:app", "Start runs by time, webhook or event.", "atom triggers list"),
    "episodes": Entry("atom.cli.episodes:app", "What agents remember.", 'atom episodes search guide "backup key"'),
    "skills": Entry(
        "atom.cli.skills:app",
        "Check, import, approve and disable skills; the sandbox.",
        "atom skills import ./my-skill",
    ),
    "keys": Entry(
        "atom.cli.keys:app", "Provider keys, their order, budgets and usage.", "atom keys add openai team-a < key.txt"
    ),
    "governance": Entry(
        "atom.cli.governance:app", "Actions, policies, grants, and why.", "atom governance explain guide delete_file"
    ),
    "cache": Entry("atom.cli.cache:app", "The response cache, and the cache of decisions.", "atom cache stats"),
    "halt": Entry("atom.cli.halt:halt", "The kill switch: stop all agents, or let them go on.", "atom halt --all"),
    "jobs": Entry("atom.cli.job:app", "Look at long work, and cancel it.", "atom jobs list"),
    "token": Entry("atom.cli.token:app", "Create, list and revoke API tokens.", "atom token create ci --role operator"),
    "config": Entry("atom.cli.config:app", "Show the effective settings and their source.", "atom config show"),
    "version": Entry("atom.cli.version:version", "Print the version.", "atom version"),
}


class AtomGroup(TyperGroup):
    """Lists commands without importing them; imports the one that is called, or completed."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, self._load(name) if name in COMMANDS else command, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the last flush at exit must not fail again
            raise typer.Exit(PIPE_CLOSED) from None
        return result

    def _load(self, name: str) -> Any:
        entry = COMMANDS[name]
        module, _, attribute = entry.target.partition(":")
        value = getattr(importlib.import_module(module), attribute)
        epilog = example(entry.example)
        if isinstance(value, typer.Typer):
            info = TyperInfo(value, name=name, help=entry.help, epilog=epilog)
            return get_group_from_info(info, pretty_exceptions_short=True, suggest_commands=True, rich_markup_mode=None)
        return get_command_from_info(
            CommandInfo(name=name, callback=value, epilog=epilog), pretty_exceptions_short=True, rich_markup_mode=None
        )


def build() -> typer.Typer:
    """The app. Its help is plain text, the same on a terminal and in a pipe."""
    app = typer.Typer(
        cls=AtomGroup,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=example(
            'atom up, and in another terminal: atom run guide "Which command switches to the backup LLM provider?"'
        ),
    )

    @app.callback()
    def atom() -> None:
        """Run AI agents that a team can trust in production."""

    return app


def run(argv: Sequence[str]) -> int:
    """Run one command line; the exit code is 0 done, 1 the answer is no, 2 usage, 3 could not."""
    as_json = "--json" in itertools.takewhile(lambda argument: argument != "--", argv)
    try:
        _check_text(argv)
        command = get_command(build())
        result = command.main(list(argv) or ["--help"], prog_name="atom", standalone_mode=False)
    except TyperException as error:
        return misused(error, as_json=as_json)
    except typer.Abort:
        print("Nothing was done.", file=sys.stderr)
        return NO
    except AtomError as error:
        return failed(error, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - the top of the CLI: a person gets a sentence, `broke` has the trace
        return broke(error, as_json=as_json)
    return result if isinstance(result, int) else 0


def _check_text(argv: Sequence[str]) -> None:
    for number, argument in enumerate(argv, 1):
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise InvalidError(
                f"Argument {number} is not valid UTF-8; nothing was sent.", hint="Convert it, for example with iconv."
            )
