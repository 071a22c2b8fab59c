"""The commands of an operator: one for each of the machine's moves, and `cancel`.

Their routes are those of `sagakeep.moves.MOVES`; a test sees to it that each of these has its command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from sagakeep.commands.options import JSON_OPTION, REASON_OPTION, asks_server

if TYPE_CHECKING:
    from sagakeep.commands.client import Client
    from sagakeep.moves import MoveKind

Command = Callable[..., Any]  # click's decorators keep a command's own type to themselves

_IDS: Final = click.argument("saga_ids", metavar="ID...", nargs=-1, required=True)
_ID: Final = click.argument("saga_id", metavar="ID")
_STEP_ID: Final = click.argument("step", metavar="STEP")
_STEP: Final = click.option(
    "--step", default="", metavar="STEP", help="Only this step and those that depend on it."
)
_DOWN_TO: Final = click.option(
    "--down-to",
    default="",
    metavar="STEP",
    help="Only those that depend on this step; then the saga stands still.",
)
_PLAN: Final = click.option(
    "--plan", "is_plan", is_flag=True, help="Only say what would be called, in order."
)
_NOW: Final = click.option(
    "--now", "is_now", is_flag=True, help="Also make attempts at once that are planned for later."
)
_PLAN_ID: Final = click.option(
    "--plan-id", default="", metavar="PLAN", help="Only if it has not moved since that plan."
)


def _takes(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Give a command these arguments and options, and those that all moves have."""

    def decorate(command: Command) -> Command:
        for option in reversed((*options, REASON_OPTION, JSON_OPTION)):
            command = option(command)
        return command

    return decorate


@click.command()
@_takes(_IDS, _NOW)
@asks_server
def retry(
    client: Client, saga_ids: tuple[str, ...], is_now: bool, reason: str, as_json: bool
) -> None:
    """Let sagas that stand still go on: what failed is tried again."""
    _make(client, "retry", saga_ids, {"now": is_now or "", "reason": reason}, as_json)


@click.command()
@_takes(_IDS)
@asks_server
def pause(client: Client, saga_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Begin nothing new of sagas until they are resumed; what is in flight may end."""
    _make(client, "pause", saga_ids, {"reason": reason}, as_json)


@click.command()
@_takes(_IDS)
@asks_server
def resume(client: Client, saga_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Let sagas go on that were paused."""
    _make(client, "resume", saga_ids, {"reason": reason}, as_json)


@click.command()
@_takes(_IDS)
@asks_server
def finish(client: Client, saga_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """End sagas by force: nothing more is called, and what is not undone stays as it is."""
    _make(client, "finish", saga_ids, {"reason": reason}, as_json)


@click.command()
@_takes(_IDS)
@asks_server
def rerun(client: Client, saga_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Run sagas that have ended again, each as a new one that is linked to it."""
    _make(client, "rerun", saga_ids, {"reason": reason}, as_json)


@click.command()
@_takes(_IDS, _STEP, _DOWN_TO, _PLAN, _PLAN_ID)
@asks_server
def compensate(
    client: Client,
    saga_ids: tuple[str, ...],
    step: str,
    down_to: str,
    is_plan: bool,
    plan_id: str,
    reason: str,
    as_json: bool,
) -> None:
    """Undo sagas, also completed ones, in reverse order."""
    fields = {"stepID": step, "downTo": down_to}
    if is_plan:
        _plan(client, saga_ids, fields, as_json)
    else:
        fields |= {"reason": reason, "planId": plan_id}
        _make(client, "compensate", saga_ids, fields, as_json)


def _plan(client: Client, saga_ids: tuple[str, ...], fields: dict[str, str], as_json: bool) -> None:
    from sagakeep.commands import screen
    from sagakeep.explanation_text import undo_lines

    said = {name: value for name, value in fields.items() if value}
    for saga_id in saga_ids:
        path = _path_of("compensate", saga_id)
        plan = client.ask("PUT", path, said or None, query={"plan": "true"}).body
        if screen.is_for_people(as_json):
            screen.show(f"{saga_id}: plan {plan['planId']}", *undo_lines(plan))
        else:
            screen.print_json({"id": saga_id, **plan})


@click.command()
@_takes(
    _ID,
    _STEP_ID,
    click.option(
        "--as",
        "resolution",
        required=True,
        type=click.Choice(["done", "not_done", "undone"]),
        help="What became of it.",
    ),
    click.option("--result", default="null", metavar="JSON", help="What it gave, if it is done."),
)
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
    fields = {"stepID": step, "as": resolution, "result": _json_of("--result", result)}
    _make(client, "resolve", (saga_id,), {**fields, "reason": reason}, as_json)


@click.command()
@_takes(
    _ID,
    _STEP_ID,
    click.option(
        "--result", default="null", metavar="JSON", help="What it counts as having given."
    ),
)
@asks_server
def skip(client: Client, saga_id: str, step: str, result: str, reason: str, as_json: bool) -> None:
    """Let STEP, which is not done, count as done; there is nothing of it to undo."""
    fields = {"stepID": step, "result": _json_of("--result", result), "reason": reason}
    _make(client, "skip", (saga_id,), fields, as_json)


@click.command()
@_takes(
    _ID,
    _STEP_ID,
    click.option("--payload", required=True, metavar="JSON", help="What it is sent from now on."),
)
@asks_server
def edit(client: Client, saga_id: str, step: str, payload: str, reason: str, as_json: bool) -> None:
    """Call STEP with another payload from now on, or what undoes it if that is where it is stuck."""
    fields = {"stepID": step, "payload": _json_of("--payload", payload), "reason": reason}
    _make(client, "edit", (saga_id,), fields, as_json)


def _json_of(option: str, text: str) -> object:
    import json

    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"is no JSON: {error}", param_hint=option) from None
    return value


@click.command()
@_takes(_IDS)
@asks_server
def cancel(client: Client, saga_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Undo sagas that are under way; one that has completed is left as it is."""
    _make(client, "compensate", saga_ids, {"reason": reason}, as_json, spares="completed")


@click.command()
@_takes(_IDS)
@asks_server
def delete(client: Client, saga_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Remove sagas that stand still from every list; nothing is undone."""
    _make(client, "delete", saga_ids, {"reason": reason}, as_json)


def _make(
    client: Client,
    name: str,
    saga_ids: tuple[str, ...],
    fields: Mapping[str, object],
    as_json: bool,
    spares: str = "",
) -> None:
    """Make a move of each saga; what one refuses is told, and the others go on."""
    from sagakeep.commands import screen
    from sagakeep.errors import RequestRefused

    is_for_people = screen.is_for_people(as_json)
    refused = 0
    for saga_id in saga_ids:
        told: dict[str, str] = {"id": saga_id}
        try:
            told |= _make_one(client, name, saga_id, fields, spares)
            status, why = told["status"], ""
        except RequestRefused as error:
            status, why = "refused", str(error)
            refused += 1
            if len(saga_ids) == 1:
                raise
        if is_for_people:
            again = f", run again as {told['rerunAs']}" if "rerunAs" in told else ""
            screen.show(f"{saga_id}: {status}{again}" + (f": {why}" if why else ""))
        else:
            screen.print_json({**told, "status": status, "error": why})
    if refused:
        raise click.exceptions.Exit(1)


def _make_one(
    client: Client, name: str, saga_id: str, fields: Mapping[str, object], spares: str
) -> dict[str, str]:
    """Make the move; return what the saga is then, and as what it is run again."""
    from sagakeep.commands.client import saga_path
    from sagakeep.errors import MoveNotAllowed

    if spares and client.get(saga_path(saga_id, "/status"))["status"] == spares:
        raise MoveNotAllowed(409, f"it is {spares}; `sagakeep {name} {saga_id}` undoes it")
    path = _path_of(name, saga_id)
    given = {field: value for field, value in fields.items() if value != ""}
    if name == "delete":
        client.ask("DELETE", path, query={field: str(value) for field, value in given.items()})
        return {"status": "deleted"}
    body = client.ask(_kind(name).method, path, given or None).body
    if name == "rerun":
        return {"status": str(client.get(saga_path(saga_id))["status"]), "rerunAs": body["id"]}
    return {"status": str(body["status"])}


def _path_of(name: str, saga_id: str) -> str:
    from sagakeep.commands.client import saga_path

    return saga_path(saga_id, _kind(name).path.removeprefix("/api/sagas/{id}"))


def _kind(name: str) -> MoveKind:
    from sagakeep.moves import MOVES

    return next(move for move in MOVES if move.name == name)
