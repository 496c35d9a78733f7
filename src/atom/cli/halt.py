"""`atom halt`: the kill switch."""

from typing import Annotated

import typer

from atom.cli.failures import NO
from atom.cli.options import Json
from atom.cli.output import Output, moment
from atom.cli.target import connect
from atom.errors import InvalidError


def halt(
    *,
    all_: Annotated[bool, typer.Option("--all", help="Stop every claim and every effect, on all replicas.")] = False,
    lift: Annotated[bool, typer.Option("--lift", help="Let work go on.")] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever finds it.")
    ] = "halted from the command line",
    as_json: Json = False,
) -> None:
    """Stop everything that agents do, or let it go on. Without an option: say how it stands; exits 1 while halted."""
    if all_ and lift:
        raise InvalidError("--all and --lift: give one of them.", hint="Neither shows how it stands.")
    out = Output.open(as_json)
    with connect() as atom:
        if all_:
            found = atom.call(atom.client.halting.halt(reason))
        elif lift:
            found = atom.call(atom.client.halting.lift())
        else:
            found = atom.call(atom.client.halting.show())
    if as_json:
        out.json(found.plain())
    elif found.halted:
        out.line(
            f"Everything is halted since {moment(found.halted_at)} by {found.halted_by}: {found.reason}", "bold red"
        )
        out.note("Runs are kept as they are. Let them go on: atom halt --lift")
    else:
        out.line("Nothing is halted.")
    if found.halted and not all_:
        raise typer.Exit(NO)
