"""The commands of an operator: one for each of the machine's moves, and `cancel`.

Their routes are those of `sagakeep.moves.MOVES`; a test sees to it that each of these has its command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from sagakeep.commands.options import JSON_OPTION, REASON_OPTION, asks_server

if TYPE_CHECKING:
    from sagakeep.commands.client import Client
    from sagakeep.moves import MoveKind

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
@click.argument("saga_id", metavar="ID")
@click.argument("step", metavar="STEP")
@click.option(
    "--as",
    "resolution",
    required=True,
    type=click.Choice(["done", "not_done", "undone"]),
    help="What became of it.",
)
@click.option("--result", default="null", metavar="JSON", help="What it gave, if it is done.")
@REASON_OPTION
@JSON_OPTION
@asks_server
def resolve(
    client: Client,
    saga_id: str,
    step: str,
    resolution: str,
    result: str,
    reason: str,
    as_json: bool,
) -> None:
    """Say what became of STEP of a saga that stands still, where no call can tell or do it; it then goes on.

    done: its effect is there; not_done: it is not; undone: it was, and you have undone it.
    """
    import json

    from sagakeep.commands import screen

    try:
        value = json.loads(result)
    except ValueError as error:
        raise click.BadParameter(f"is no JSON: {error}", param_hint="--result") from None
    body = {"stepID": step, "as": resolution, "result": value, "reason": reason}
    status = client.ask("PUT", _path_of("resolve", saga_id), body).body["status"]
    if screen.is_for_people(as_json):
        screen.show(f"{saga_id}: {status}")
    else:
        screen.print_json({"id": saga_id, "status": status, "error": ""})


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

    if spares and client.get(saga_path(saga_id, "/status"))["status"] == spares:
        raise MoveNotAllowed(409, f"it is {spares}; `sagakeep {name} {saga_id}` undoes it")
    path = _path_of(name, saga_id)
    given = {field: value for field, value in fields.items() if value}
    if name == "delete":
        client.ask("DELETE", path, query=given)
        return "deleted"
    return str(client.ask(_kind(name).method, path, given or None).body["status"])


def _path_of(name: str, saga_id: str) -> str:
    from sagakeep.commands.client import saga_path

    return saga_path(saga_id, _kind(name).path.removeprefix("/api/sagas/{id}"))


def _kind(name: str) -> MoveKind:
    from sagakeep.moves import MOVES

    return next(move for move in MOVES if move.name == name)
