"""The commands of an operator: one for each of the machine's moves, and `cancel`.

They are made of `sagakeep.moves.MOVES`, so that a move that is added there has its command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from sagakeep.commands.options import JSON_OPTION, REASON_OPTION, asks_server

if TYPE_CHECKING:
    from sagakeep.commands.client import Client

_IDS: Final = click.argument("saga_ids", metavar="ID...", nargs=-1, required=True)
_STEP: Final = click.option(
    "--step", default="", metavar="STEP", help="Only this step and those that depend on it."
)


@click.command()
@_IDS
@REASON_OPTION
@JSON_OPTION
@asks_server
def retry(client: Client, saga_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Let sagas that stand still go on: what failed is tried again."""
    _make(client, "retry", saga_ids, {"reason": reason}, as_json)


@click.command()
@_IDS
@_STEP
@REASON_OPTION
@JSON_OPTION
@asks_server
def compensate(
    client: Client, saga_ids: tuple[str, ...], step: str, reason: str, as_json: bool
) -> None:
    """Undo sagas, also completed ones, in reverse order."""
    _make(client, "compensate", saga_ids, {"reason": reason, "stepID": step}, as_json)


@click.command()
@_IDS
@REASON_OPTION
@JSON_OPTION
@asks_server
def cancel(client: Client, saga_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Undo sagas that are under way; one that has completed is left as it is."""
    _make(client, "compensate", saga_ids, {"reason": reason}, as_json, spares="completed")


@click.command()
@_IDS
@REASON_OPTION
@JSON_OPTION
@asks_server
def delete(client: Client, saga_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Remove sagas that stand still from every list; nothing is undone."""
    _make(client, "delete", saga_ids, {"reason": reason}, as_json)


def _make(
    client: Client,
    name: str,
    saga_ids: tuple[str, ...],
    fields: dict[str, str],
    as_json: bool,
    spares: str = "",
) -> None:
    """Make a move of each saga; what one refuses is told, and the others go on."""
    from sagakeep.commands import screen
    from sagakeep.errors import RequestRefused

    is_for_people = screen.is_for_people(as_json)
    refused = 0
    for saga_id in saga_ids:
        try:
            status = _make_one(client, name, saga_id, fields, spares)
            why = ""
        except RequestRefused as error:
            status, why = "refused", str(error)
            refused += 1
            if len(saga_ids) == 1:
                raise
        if is_for_people:
            screen.show(f"{saga_id}: {status}" + (f": {why}" if why else ""))
        else:
            screen.print_json({"id": saga_id, "status": status, "error": why})
    if refused:
        raise click.exceptions.Exit(1)


def _make_one(client: Client, name: str, saga_id: str, fields: dict[str, str], spares: str) -> str:
    """Make the move; return what the saga is then."""
    from sagakeep.commands.client import saga_path
    from sagakeep.errors import MoveNotAllowed
    from sagakeep.moves import MOVES

    if spares and client.get(saga_path(saga_id, "/status"))["status"] == spares:
        raise MoveNotAllowed(409, f"it is {spares}; `sagakeep {name} {saga_id}` undoes it")
    kind = next(move for move in MOVES if move.name == name)
    path = saga_path(saga_id, kind.path.removeprefix("/api/sagas/{id}"))
    given = {field: value for field, value in fields.items() if value}
    if kind.method == "DELETE":
        client.ask(kind.method, path, query=given)
        return "deleted"
    return str(client.ask(kind.method, path, given or None).body["status"])
