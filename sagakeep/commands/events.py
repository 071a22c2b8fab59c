"""The command that prints histories: `events`, of a running server or of a directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sagakeep.commands.options import JSON_OPTION, asks_server

if TYPE_CHECKING:
    from sagakeep.commands.client import Client


@click.command()
@click.argument("where", metavar="DIRECTORY|ID")
@click.argument("saga", default="")
@JSON_OPTION
@asks_server
def events(client: Client, where: str, saga: str, as_json: bool) -> None:
    """Print the history of the saga ID, as a running server has it.

    With a DIRECTORY: the journal in it, or what of it is about SAGA; it may be in use. A table on a terminal,
    else one JSON object a line. What a saga calls sensitive is redacted.
    """
    if saga or "/" in where or os.path.isdir(where):  # no id has a slash
        _of_directory(where, saga, as_json)
    else:
        _of_server(client, where, as_json)


def _of_server(client: Client, saga_id: str, as_json: bool) -> None:
    from sagakeep.commands import screen
    from sagakeep.commands.client import saga_path
    from sagakeep.errors import ServerUnreachable
    from sagakeep.event_columns import columns_writer
    from sagakeep.limits import PAGE_MAX

    write = columns_writer(with_saga=False) if screen.is_for_people(as_json) else screen.print_json
    query: dict[str, str | list[str]] = {"limit": str(PAGE_MAX)}
    try:
        for event in client.pages(saga_path(saga_id, "/events"), "events", query):
            write(event)
    except ServerUnreachable as error:
        text = f"{saga_id!r} is no directory, and there is no server to ask for a saga: {error}"
        raise click.BadParameter(text, param_hint="DIRECTORY|ID") from None


def _of_directory(directory: str, saga: str, as_json: bool) -> None:
    from sagakeep.offline.event_listing import list_events

    if not os.path.isdir(directory):
        raise click.BadParameter(f"Directory {directory!r} does not exist.", param_hint="DIRECTORY")
    list_events(directory, saga, as_json=as_json)
