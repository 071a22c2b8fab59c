"""The command that says what many sagas have in common: `analytics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from sagakeep.commands.options import DATA_OPTION, JSON_OPTION, asks_server, takes_filters

if TYPE_CHECKING:
    from rich.table import Table

    from sagakeep.commands.client import Client

SHOWN: Final = 20  # of the slowest calls, and of the failures

_UNTIL: Final = click.option(
    "--until", default="", metavar="TIME|AGO", help="Created then or earlier, as --since."
)


@click.command()
@DATA_OPTION
@takes_filters
@_UNTIL
@JSON_OPTION
@asks_server
def analytics(
    client: Client,
    data: str | None,
    name: str,
    tags: tuple[str, ...],
    since: str,
    until: str,
    as_json: bool,
) -> None:
    """Show how sagas end and how long they take, which steps are slow, and which fail of what.

    A server looks at the newest 50,000 sagas that meet the filters; with --data all are looked at, one after the
    other.
    """
    from sagakeep.commands import screen
    from sagakeep.commands.source import query_of

    wanted = query_of("", name, tags, since, until)
    told = _of_directory(data, wanted) if data else _of_server(client, wanted)
    if not screen.is_for_people(as_json):
        screen.print_json(told)
    elif not told["names"]:
        screen.show("no saga matches")
    else:
        screen.show(*_tables(told))


def _of_server(client: Client, wanted: dict[str, str | list[str]]) -> Any:
    renamed = {"createdAfter": "since", "createdBefore": "until"}
    query = {renamed.get(key, key): value for key, value in wanted.items()}
    return client.ask("GET", "/api/analytics", query=query).body


def _of_directory(directory: str, wanted: dict[str, str | list[str]]) -> Any:
    from datetime import datetime

    from sagakeep.analytics import analytics_view
    from sagakeep.commands.source import in_directory
    from sagakeep.commands.tallied import tally

    found = tally(state for state, _view in in_directory(directory, wanted))
    bounds = (wanted.get("createdAfter"), wanted.get("createdBefore"))
    since, until = (one and datetime.fromisoformat(str(one)).timestamp() for one in bounds)
    return analytics_view(found, since or None, until or None)


def _tables(told: Any) -> list[Table | str]:
    tables: list[Table | str] = [_names(told["names"])]
    if told["steps"]:
        tables += ["", _steps(told["steps"][:SHOWN])]
    if told["failures"]:
        tables += ["", _failures(told["failures"][:SHOWN])]
    if not told["isWhole"]:
        tables += [
            "",
            f"of the newest {told['sagas']} sagas: there are more; see --since and --until",
        ]
    return tables


def _names(names: Any) -> Table:
    from sagakeep.commands import screen

    made = screen.table(
        "NAME", ">SAGAS", ">COMPLETED", ">UNDONE", ">HELD", ">UNDO RATE", ">P50", ">P90", ">P99"
    )
    for one in names:
        rate = "" if one["undoRate"] is None else f"{one['undoRate']:.1%}"
        counts = (one["sagas"], one["completed"], one["compensated"], one["held"])
        words = (one["name"], *counts, rate, *_times(one["durations"]))
        made.add_row(*map(screen.cell, words))
    return made


def _steps(steps: Any) -> Table:
    from sagakeep.commands import screen

    made = screen.table("NAME", "SLOW STEP", "CALL", ">CALLS", ">ATTEMPTS", ">P50", ">P90", ">P99")
    for one in steps:
        is_undo = one["phase"] == "compensation"
        call = f"{'undo of ' if is_undo else ''}{one['service']}.{one['action']}"
        attempts = f"{one['attemptsMean']:.2f}"
        words = (one["name"], one["stepID"], call, one["calls"], attempts)
        made.add_row(*map(screen.cell, (*words, *_times(one["durations"]))))
    return made


def _failures(failures: Any) -> Table:
    from sagakeep.commands import screen

    most = failures[0]["sagas"]
    made = screen.table("NAME", "FAILED STEP", ">SAGAS", "", "ERROR")
    for one in failures:
        bar = screen.cell("█" * -(-10 * one["sagas"] // most), "red")
        step = f"{'undo of ' if one['phase'] == 'compensation' else ''}{one['stepID']}"
        name, step_id, sagas = map(screen.cell, (one["name"], step, one["sagas"]))
        made.add_row(name, step_id, sagas, bar, screen.cell(one["error"]))
    return made


def _times(durations: dict[str, float | None]) -> list[str]:
    return ["" if seconds is None else f"{seconds:.3g} s" for seconds in durations.values()]
