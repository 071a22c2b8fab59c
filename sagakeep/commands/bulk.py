"""The command that moves many sagas: `bulk`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from sagakeep.commands.options import (
    JSON_OPTION,
    REASON_OPTION,
    STATUS_OPTION,
    asks_server,
    takes_filters,
)

if TYPE_CHECKING:
    from sagakeep.commands.client import Client

PATH: Final = "/api/sagas/bulk"
REFUSED_SHOWN: Final = 50  # in the table; in a pipe there are all


@click.command()
@click.argument("move", metavar="MOVE")
@STATUS_OPTION
@takes_filters
@click.option(
    "--body",
    default="{}",
    metavar="JSON",
    help='What the move says beside the reason, as {"stepID": "ship", "as": "undone"}.',
)
@REASON_OPTION
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON_OPTION
@asks_server
def bulk(
    client: Client,
    move: str,
    status: str,
    name: str,
    tags: tuple[str, ...],
    since: str,
    body: str,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Make one MOVE (retry, compensate, delete, ...) of all sagas that the filters let through.

    It counts them first, shows some and asks. Each saga then moves for itself or refuses; who has left the filter
    by then is left alone. Exit code 1 when some did not move.
    """
    from sagakeep.commands import screen

    asked = {
        "move": move,
        "filter": _filter(status, name, tags, since),
        "body": _body(body, reason),
    }
    plan = client.ask("POST", PATH, {**asked, "plan": True}).body
    is_for_people = screen.is_for_people(as_json)
    if not plan["count"]:
        if is_for_people:
            screen.show("no saga matches")
        return
    if not yes and not _is_agreed(plan):
        raise click.UsageError("nothing was done: it moves many sagas, so it wants a --yes")
    lines = client.lines("POST", PATH, {**asked, "token": plan["token"]})
    sums = _follow(lines) if is_for_people else _print(lines)
    if sums["refused"] or sums["failed"] or sums["cut"]:
        raise click.exceptions.Exit(1)


def _filter(status: str, name: str, tags: tuple[str, ...], since: str) -> dict[str, object]:
    from sagakeep.commands.source import query_of

    wanted: dict[str, object] = dict(query_of(status, name, tags, since))
    of_tags = {key: wanted.pop(key) for key in list(wanted) if key.startswith("tag.")}
    if of_tags:
        wanted["tags"] = {key.removeprefix("tag."): value for key, value in of_tags.items()}
    return wanted


def _body(text: str, reason: str) -> dict[str, object]:
    import json

    try:
        body = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"is no JSON: {error}", param_hint="--body") from None
    if not isinstance(body, dict):
        raise click.BadParameter("is no JSON object", param_hint="--body")
    return {**body, **({"reason": reason} if reason else {})}


def _is_agreed(plan: Any) -> bool:
    """Show what it is about and ask, if somebody is there who can answer."""
    import sys

    if not sys.stdin.isatty():
        return False
    more = ", ..." if plan["count"] > len(plan["sample"]) else ""
    click.echo(f"{', '.join(plan['sample'])}{more}", err=True)
    return click.confirm(f"{plan['move']} {plan['count']} sagas?", err=True)


def _print(lines: Iterator[Any]) -> Counter[str]:
    """Print the lines of sagas as they come; return the sums."""
    from sagakeep.commands import screen

    return _sums(lines, screen.print_json)


def _follow(lines: Iterator[Any]) -> Counter[str]:
    """Show a bar, then who did not move and why; return the sums."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from sagakeep.commands import screen

    left: list[Any] = []
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=next(lines)["count"])

        def note(line: Any) -> None:
            progress.advance(task)
            if line["outcome"] != "moved":
                left.append(line)

        sums = _sums(lines, note)
    if left:
        screen.show(_table(left[:REFUSED_SHOWN]))
    if len(left) > REFUSED_SHOWN:
        screen.show(f"... and {len(left) - REFUSED_SHOWN} more; in a pipe all are printed")
    screen.show(f"{sums['moved']} moved, {sums['refused']} refused, {sums['failed']} failed")
    return sums


def _sums(lines: Iterator[Any], note: Callable[[Any], None]) -> Counter[str]:
    """Tell of each saga; count the outcomes, and as `cut` that the rest was not asked."""
    sums: Counter[str] = Counter(cut=1)
    for line in lines:
        if "id" in line:
            sums[line["outcome"]] += 1
            note(line)
        elif "moved" in line:
            sums["cut"] = int(bool(line["error"]))
            if line["error"]:
                click.echo(f"the rest was not asked: {line['error']}", err=True)
    return sums


def _table(results: list[Any]) -> object:
    from sagakeep.commands import screen

    made = screen.table("ID", "OUTCOME", "STATUS", "WHY")
    for result in results:
        made.add_row(
            screen.cell(result["id"]),
            screen.cell(result["outcome"], "bold red" if result["outcome"] == "failed" else ""),
            screen.status_cell(result["status"] or ""),
            screen.cell(result["why"]),
        )
    return made
