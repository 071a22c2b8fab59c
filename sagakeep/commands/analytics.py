"""The command that says what many sagas have in common: `analytics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from sagakeep.commands.options import DATA_OPTION, JSON_OPTION, asks_server, takes_filters

if TYPE_CHECKING:
    from rich.table import Table

    from sagakeep.commands.client import Client
    from sagakeep.commands.tallied import Tallied

FAILURES_SHOWN: Final = 20


@click.command()
@DATA_OPTION
@takes_filters
@JSON_OPTION
@asks_server
def analytics(
    client: Client, data: str | None, name: str, tags: tuple[str, ...], since: str, as_json: bool
) -> None:
    """Show how often sagas are undone, how long they take, and which steps fail of what.

    It looks at every saga that meets the filters, one after the other: give a --since where there are many.
    """
    from sagakeep.commands import screen
    from sagakeep.commands.source import sagas_of
    from sagakeep.commands.tallied import tally

    tallied = tally(sagas_of(client, data, "", name, tags, since))
    if not screen.is_for_people(as_json):
        screen.print_json(_document(tallied))
    elif not tallied.names:
        screen.show("no saga matches")
    else:
        screen.show(_names(tallied))
        if tallied.failures:
            screen.show("", _failures(tallied))


def _document(tallied: Tallied) -> dict[str, Any]:
    from sagakeep.commands.tallied import PERCENTILES

    names = [
        {
            "name": one.name,
            "sagas": one.sagas,
            "completed": one.completed,
            "compensated": one.compensated,
            "held": one.held,
            "undoRate": one.undo_rate,
            "durations": {
                f"p{percent}": seconds
                for percent, seconds in zip(PERCENTILES, one.durations_s, strict=True)
            },
        }
        for one in tallied.names
    ]
    failures = [
        {"name": one.name, "stepID": one.step_id, "error": one.error, "sagas": one.sagas}
        for one in tallied.failures
    ]
    return {"names": names, "failures": failures}


def _names(tallied: Tallied) -> Table:
    from sagakeep.commands import screen
    from sagakeep.commands.tallied import PERCENTILES

    heads = [f">P{percent}" for percent in PERCENTILES]
    made = screen.table("NAME", ">SAGAS", ">COMPLETED", ">UNDONE", ">HELD", ">UNDO RATE", *heads)
    for one in tallied.names:
        rate = "" if one.undo_rate is None else f"{one.undo_rate:.1%}"
        times = ["" if seconds is None else f"{seconds:.3g} s" for seconds in one.durations_s]
        words = (one.name, one.sagas, one.completed, one.compensated, one.held, rate, *times)
        made.add_row(*map(screen.cell, words))
    return made


def _failures(tallied: Tallied) -> Table:
    from sagakeep.commands import screen

    most = tallied.failures[0].sagas
    made = screen.table("NAME", "FAILED STEP", ">SAGAS", "", "ERROR")
    for one in tallied.failures[:FAILURES_SHOWN]:
        bar = screen.cell("█" * -(-10 * one.sagas // most), "red")
        name, step, sagas = map(screen.cell, (one.name, one.step_id, one.sagas))
        made.add_row(name, step, sagas, bar, screen.cell(one.error))
    return made
