"""The command that writes tables for other programs: `export`, of a running server or of a directory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from sagakeep.commands.options import asks_server

if TYPE_CHECKING:
    from sagakeep.commands.client import Client
    from sagakeep.commands.export_table import Cell, Column
    from sagakeep.published import SagaView


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
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, exists=True),
    help="Read this data directory, and ask no server.",
)
@click.option("--status", default="", help="Only sagas in this status.")
@click.option("--name", default="", help="Only sagas of this name.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only sagas so tagged.")
@click.option(
    "--since", default="", metavar="TIME|AGO", help="Created then or later: a time, or 30m, 2h, 7d."
)
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
    from sagakeep.commands.show import filters_of

    query = {key: value for key, value in (("status", status), ("name", name)) if value}
    wanted = {**query, **filters_of(tags, since)}
    sagas = _of_directory(data, wanted) if data else _of_server(client, wanted)
    write = (_csv_writer if form == "csv" else _json_writer)(TABLES[table])
    for saga in sagas:
        for row in rows_of(table, saga):
            write(row)


def _of_server(client: Client, wanted: dict[str, str | list[str]]) -> Iterator[SagaView]:
    from sagakeep.limits import PAGE_MAX

    return client.pages("/api/sagas", "sagas", {"limit": str(PAGE_MAX), **wanted})


def _of_directory(directory: str, wanted: dict[str, str | list[str]]) -> Iterator[SagaView]:
    """The sagas of a directory that the same filters let through. Raises BadParameter."""
    from sagakeep.offline.saga_listing import sagas_in

    meets = _meets(wanted)
    return (saga for saga in sagas_in(directory) if meets(saga))


def _meets(wanted: dict[str, str | list[str]]) -> Callable[[SagaView], bool]:
    """The filters of the API, for who has no server to apply them."""
    from datetime import datetime

    since = str(wanted.get("createdAfter", "0001-01-01T00:00:00Z"))
    try:
        first = datetime.fromisoformat(since)
    except ValueError:
        first = None
    if first is None or first.tzinfo is None:
        text = f'{since!r} is no time; expected one such as "2026-01-31T12:00:00Z", or 2h'
        raise click.BadParameter(text, param_hint="--since")
    tags = {
        key.removeprefix("tag."): value for key, value in wanted.items() if key.startswith("tag.")
    }

    def meets(saga: SagaView) -> bool:
        return (
            wanted.get("status", saga["status"]) == saga["status"]
            and wanted.get("name", saga["name"]) == saga["name"]
            and all(saga["tags"].get(key) == value for key, value in tags.items())
            and datetime.fromisoformat(saga["createdAt"]) >= first
        )

    return meets


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
