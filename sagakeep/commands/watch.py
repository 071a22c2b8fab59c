"""The command that follows one saga: `watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sagakeep.commands.options import JSON_OPTION, asks_server

if TYPE_CHECKING:
    from sagakeep.commands.client import Client


@click.command()
@click.argument("saga_id", metavar="ID")
@JSON_OPTION
@asks_server
def watch(client: Client, saga_id: str, as_json: bool) -> None:
    """Print the events of the saga ID as they happen, until it is final.

    It goes on when the server is started again. The exit code is 0 when the saga completed, else 1.
    """
    from sagakeep.commands import screen
    from sagakeep.commands.client import saga_path
    from sagakeep.commands.submit import exit_code_of
    from sagakeep.event_columns import columns_writer

    write = columns_writer(with_saga=False) if screen.is_for_people(as_json) else screen.print_json
    for event in client.stream(saga_path(saga_id, "/events")):
        write(event)
    status = client.get(saga_path(saga_id, "/status"))["status"]
    if screen.is_for_people(as_json):
        screen.show(f"{saga_id}: {status}")
    raise click.exceptions.Exit(exit_code_of(status))
