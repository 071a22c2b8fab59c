"""The screen: tables and colours for a terminal, JSON for a pipe. rich is imported where it is used."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from sagakeep.logs import escaped

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

STATUS_STYLES: Final[Mapping[str, str]] = {
    "completed": "green",
    "compensated": "yellow",
    "compensating": "yellow",
    "failed": "red",
    "compensation_failed": "bold red",
    "abandoned": "magenta",
    "running": "cyan",
    "retrying": "cyan",
}


def is_for_people(as_json: bool) -> bool:
    """Is somebody there who reads, and did not ask for JSON?"""
    return not as_json and sys.stdout.isatty()


def print_json(value: object) -> None:
    """Print one JSON value in a line."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_lines(values: Iterable[object]) -> None:
    """Print a JSON value in each line."""
    for value in values:
        print_json(value)


def table(*columns: str) -> Table:
    """A table with these columns, of which the last is folded and those that begin with ~; > is for numbers."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        name = column.lstrip(">~")
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        folds = column.startswith("~") or column == columns[-1]
        made.add_column(name, justify=justify, no_wrap=not folds, overflow="fold")
    return made


def cell(value: object, style: str = "") -> Text:
    """Text as it is: no markup, no control characters."""
    from rich.text import Text

    return Text(escaped(str(value)), style=style)


def status_cell(status: str, *, is_paused: bool = False) -> Text:
    return cell(f"{status}, paused" if is_paused else status, STATUS_STYLES.get(status, ""))


def show(*things: object) -> None:
    """Print tables and lines; NO_COLOR is obeyed."""
    from rich.console import Console

    console = Console(highlight=False)
    for thing in things:
        console.print(cell(thing) if isinstance(thing, str) else thing)


def saga_table(sagas: Sequence[Any]) -> Table:
    """Sagas of a list, a row each."""
    made = table("ID", "NAME", "STATUS", ">DONE", "STEP", "CREATED")
    for saga in sagas:
        done = f"{len(saga['completedSteps'])}/{len(saga['steps'])}"
        made.add_row(
            cell(saga["id"]),
            cell(saga["name"]),
            status_cell(saga["status"], is_paused=saga["paused"] is not None),
            cell(done),
            cell(saga["currentStep"]),
            cell(short_time(saga["createdAt"])),
        )
    return made


def short_time(time: str | None) -> str:
    """A time without its fraction."""
    return "" if time is None else time[:19].replace("T", " ") + "Z"


def step_table(saga: Any) -> Table:
    """The steps of one saga."""
    made = table("STEP", "CALL", "STATUS", ">RETRIES", "NEXT", "RESULT OR ERROR")
    for step in saga["steps"]:
        result = "" if step["result"] is None else json.dumps(step["result"], ensure_ascii=False)
        made.add_row(
            cell(step["id"]),
            cell(f"{step['service']}.{step['action']}"),
            status_cell(step["status"]),
            cell(step["retryCount"] or ""),
            cell(short_time(step["nextAttemptAt"])),
            cell(step["error"] or result),
        )
    return made
