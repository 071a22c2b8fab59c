"""The command that writes tables for other programs: `export`, of a running server or of a directory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from sagakeep.commands.options import DATA_OPTION, STATUS_OPTION, asks_server, takes_filters

if TYPE_CHECKING:
    from sagakeep.commands.client import Client
    from sagakeep.commands.export_table import Cell, Column


@click.command()
@click.argument("table", type=click.Choice(["sagas", "steps"]))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="CSV with a header, or a JSON object a line.",
)
@DATA_OPTION
@STATUS_OPTION
@takes_filters
@asks_server
def export(
    client: Client,
    table: str,
    form: str,
    data: str | None,
    status: str,
    name: str,
    tags: tuple[str, ...],
    since: str,
) -> None:
    """Write a row for each saga, or for each step, to the standard output.

    The columns and their types are in docs/export.md; they only ever grow. Nothing is collected first, so the
    number of sagas has no bound. Payloads and results are not in it.
    """
    from sagakeep.commands.export_table import TABLES, rows_of
    from sagakeep.commands.source import sagas_of

    sagas = sagas_of(client, data, status, name, tags, since)
    write = (_csv_writer if form == "csv" else _json_writer)(TABLES[table])
    for saga in sagas:
        for row in rows_of(table, saga):
            write(row)


def _csv_writer(columns: Sequence[Column]) -> Callable[[Sequence[Cell]], object]:
    """Write CSV as RFC 4180 has it, but for its line ends; a null is an empty cell."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    return writer.writerow


def _json_writer(columns: Sequence[Column]) -> Callable[[Sequence[Cell]], object]:
    names = [column.name for column in columns]

    def write(row: Sequence[Cell]) -> None:
        sys.stdout.write(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n")

    return write
