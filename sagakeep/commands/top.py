"""The command that shows how a server fares, live: `top`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from sagakeep.commands.options import JSON_OPTION, asks_server
from sagakeep.commands.service import state_cells
from sagakeep.saga_status import FINAL

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sagakeep.commands.client import Client

HELD_SHOWN: Final = 10


@click.command()
@click.option(
    "--every",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.1),
    help="Seconds between looks.",
)
@click.option("--once", is_flag=True, help="Look once; so it is where no terminal is.")
@JSON_OPTION
@asks_server
def top(client: Client, every: float, once: bool, as_json: bool) -> None:
    """Show counts, rates, services, alerts and held sagas, again and again, until Ctrl-C."""
    from sagakeep.commands import screen

    if not screen.is_for_people(as_json):
        screen.print_json(_look(client))
    elif once:
        screen.show(_picture(_look(client), None, 0.0))
    else:
        _follow(client, every)


def _follow(client: Client, every_s: float) -> None:
    from rich.live import Live

    before, before_s = _look(client), time.monotonic()
    with Live(_picture(before, None, 0.0), screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every_s)
                now, now_s = _look(client), time.monotonic()
                live.update(_picture(now, before, now_s - before_s), refresh=True)
                before, before_s = now, now_s
        except KeyboardInterrupt:
            return


def _look(client: Client) -> dict[str, Any]:
    """All that is shown, from one look at the server."""
    held = [
        saga
        for status in ("compensation_failed", "failed")
        for saga in client.get("/api/sagas", status=status, limit=str(HELD_SHOWN))["sagas"]
    ]
    return {
        "stats": client.get("/api/sagas/stats"),
        "services": client.get("/api/services")["services"],
        "alerts": client.get("/api/alerts")["alerts"],
        "held": held[:HELD_SHOWN],
    }


def _picture(look: dict[str, Any], before: dict[str, Any] | None, seconds: float) -> RenderableType:
    from rich.console import Group

    from sagakeep.commands import screen

    parts: list[RenderableType] = [
        screen.cell(_headline(look["stats"], before and before["stats"], seconds), "bold"),
        _counts(look["stats"]),
        screen.cell(""),
        _services(look["services"], before and before["services"], seconds),
    ]
    if look["alerts"]:
        parts += [screen.cell(""), _alerts(look["alerts"])]
    if look["held"]:
        parts += [screen.cell(""), screen.saga_table(look["held"])]
    return Group(*parts)


def _headline(stats: Any, before: Any, seconds: float) -> str:
    line = f"{stats['totalSagas']} sagas, {stats['runningSagas']} running"
    if before and seconds:
        ended = sum(stats["byStatus"].get(one, 0) - before["byStatus"].get(one, 0) for one in FINAL)
        begun = stats["totalSagas"] - before["totalSagas"]
        line += f", {begun / seconds:.0f} begun and {ended / seconds:.0f} ended a second"
    return line


def _counts(stats: Any) -> RenderableType:
    from rich.text import Text

    from sagakeep.commands import screen

    some = [(status, count) for status, count in stats["byStatus"].items() if count]
    words = [Text.assemble(screen.status_cell(status), f" {count}") for status, count in some]
    return Text("   ").join(words)


def _services(services: Any, before: Any, seconds: float) -> RenderableType:
    from sagakeep.commands import screen

    known = {one["name"]: one["attempts"] for one in before or ()}
    made = screen.table("SERVICE", "STATE", ">IN FLIGHT", ">QUEUED", ">CALLS/S", ">CALLS")
    for one in services:
        rate = (one["attempts"] - known.get(one["name"], one["attempts"])) / (seconds or 1.0)
        made.add_row(*state_cells(one), screen.cell(f"{rate:.0f}"), screen.cell(one["attempts"]))
    return made


def _alerts(alerts: Any) -> RenderableType:
    from sagakeep.commands import screen

    made = screen.table("ALERT", "SINCE", "~WHAT", "WHAT TO DO")
    for one in alerts:
        made.add_row(
            screen.cell(one["rule"], "bold red"),
            screen.cell(screen.short_time(one["since"])),
            screen.cell(one["summary"]),
            screen.cell(one["advice"]),
        )
    return made
