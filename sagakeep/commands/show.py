"""The commands that look: `get`, `ls`, `explain` and `stats`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from sagakeep.commands.options import JSON_OPTION, STATUS_OPTION, asks_server, takes_filters

if TYPE_CHECKING:
    from sagakeep.commands.client import Client

_AT_OPTION: Final = click.option(
    "--at", default="", metavar="SEQ|TIME", help="As it was after that event, or at that time."
)


@click.command()
@click.argument("saga_id", metavar="ID")
@_AT_OPTION
@JSON_OPTION
@asks_server
def get(client: Client, saga_id: str, at: str, as_json: bool) -> None:
    """Show the saga ID and its steps."""
    from sagakeep.commands import screen
    from sagakeep.commands.client import saga_path

    saga = client.get(saga_path(saga_id), **({"at": at} if at else {}))
    if not screen.is_for_people(as_json):
        screen.print_json(saga)
        return
    head = f"{saga['name']} {saga['id']}: {saga['status']}"
    screen.show(head, *_notes(saga), "", screen.step_table(saga))


def _notes(saga: Any) -> Iterator[str]:
    """What else there is to say about a saga, in lines."""
    if saga["error"]:
        yield saga["error"]
    if saga["paused"]:
        by, reason = saga["paused"]["by"], saga["paused"]["reason"]
        who = (f" by {by}" if by else "") + (f" ({reason})" if reason else "")
        yield f"paused since {saga['paused']['since']}{who}"
    for one in saga["remains"]:
        yield f"step {one['stepID']!r} stays as it is: {one['why']}"
    if saga["rerunOf"]:
        yield f"runs {saga['rerunOf']} again"
    if saga["rerunAs"]:
        yield f"was run again as {saga['rerunAs']}"


@click.command("ls")
@STATUS_OPTION
@takes_filters
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1), help="How many at most."
)
@click.option("--all", "everything", is_flag=True, help="All of them, however many.")
@JSON_OPTION
@asks_server
def list_sagas(
    client: Client,
    status: str,
    name: str,
    tags: tuple[str, ...],
    since: str,
    limit: int,
    everything: bool,
    as_json: bool,
) -> None:
    """List sagas, newest first. In a pipe: a JSON object a line."""
    from itertools import islice

    from sagakeep.commands import screen
    from sagakeep.commands.source import query_of
    from sagakeep.limits import PAGE_MAX

    page = PAGE_MAX if everything else min(limit, PAGE_MAX)
    query = {"limit": str(page), **query_of(status, name, tags, since)}
    found = islice(client.pages("/api/sagas", "sagas", query), None if everything else limit)
    if not screen.is_for_people(as_json):
        screen.print_lines(found)
        return
    sagas = list(found)
    screen.show(screen.saga_table(sagas) if sagas else "no saga matches")


@click.command()
@click.argument("saga_id", metavar="ID")
@JSON_OPTION
@asks_server
def explain(client: Client, saga_id: str, as_json: bool) -> None:
    """Explain the saga ID: what happened and why, what it waits for, what can be done now."""
    from sagakeep.commands import screen
    from sagakeep.commands.client import saga_path
    from sagakeep.explanation_text import explanation_text

    explanation = client.get(saga_path(saga_id, "/explain"))
    if screen.is_for_people(as_json):
        screen.show(*explanation_text(explanation).splitlines())
    else:
        screen.print_json(explanation)


@click.command()
@JSON_OPTION
@asks_server
def stats(client: Client, as_json: bool) -> None:
    """Count the sagas."""
    from sagakeep.commands import screen

    counts = client.get("/api/sagas/stats")
    if not screen.is_for_people(as_json):
        screen.print_json(counts)
        return
    made = screen.table("STATUS", ">SAGAS")
    for status, count in counts["byStatus"].items():
        made.add_row(screen.status_cell(status), screen.cell(count))
    rate = f"{counts['successRate']:.1%} of those that ended completed"
    took = f"{counts['averageDuration']:.3f} s on average"
    screen.show(made, "", f"{counts['totalSagas']} sagas, {rate}, {took}")
