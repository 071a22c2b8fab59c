"""The command that begins sagas: `submit`."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any, Final

import click

from sagakeep.commands.options import JSON_OPTION, asks_server
from sagakeep.saga_status import COMPLETED, MOVING

if TYPE_CHECKING:
    from sagakeep.commands.client import Client

STILL_RUNS: Final = 3  # the exit code of who waited for a saga in vain


def exit_code_of(status: str) -> int:
    """0 for completed, 1 for any other end or a saga that is held, STILL_RUNS for one that goes on."""
    if status in MOVING:
        return STILL_RUNS
    return 0 if status == COMPLETED else 1


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--wait",
    "wait_s",
    default=0.0,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Wait so long at most for the end of the saga, and exit as it ends.",
)
@click.option("--idempotency-key", default="", help="The same key begins the same saga only once.")
@JSON_OPTION
@asks_server
def submit(
    client: Client, file: IO[bytes], wait_s: float, idempotency_key: str, as_json: bool
) -> None:
    """Begin the saga in FILE; - is the standard input. An array, or an object a line, begins many.

    With --wait the exit code is 0 when it completed, 1 when it ended otherwise or is held, 3 when it still runs.
    Of many: 0 when each was begun.
    """
    data = file.read()
    if _is_many(data):
        if wait_s or idempotency_key:
            raise click.UsageError(
                "--wait and --idempotency-key are for one saga, and FILE has many"
            )
        _submit_many(client, data, as_json)
    else:
        _submit_one(client, data, wait_s, idempotency_key, as_json)


def _is_many(data: bytes) -> bool:
    if data.lstrip().startswith(b"["):
        return True
    try:
        json.loads(data)
    except ValueError as error:
        return isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"
    return False


def _submit_one(client: Client, data: bytes, wait_s: float, key: str, as_json: bool) -> None:
    from sagakeep.commands import screen

    headers = {"Prefer": f"wait={wait_s:g}"} if wait_s else {}
    if key:
        headers["Idempotency-Key"] = key
    saga = client.ask("POST", "/api/sagas", data, headers=headers).body
    if screen.is_for_people(as_json):
        screen.show(f"{saga['name']} {saga['id']}: {saga['status']}")
    else:
        screen.print_json(saga)
    if wait_s:
        raise click.exceptions.Exit(exit_code_of(saga["status"]))


def _submit_many(client: Client, data: bytes, as_json: bool) -> None:
    from sagakeep.commands import screen

    kind = "application/json" if data.lstrip().startswith(b"[") else "application/x-ndjson"
    answer = client.ask("POST", "/api/sagas/batch", data, headers={"Content-Type": kind})
    results = answer.body["results"]
    if screen.is_for_people(as_json):
        screen.show(_result_table(results))
    else:
        screen.print_lines(results)
    if any(result["status"] >= 400 for result in results):
        raise click.exceptions.Exit(1)


def _result_table(results: list[Any]) -> object:
    from sagakeep.commands import screen

    made = screen.table(">#", "ID", "STATUS", "WHY NOT")
    for number, result in enumerate(results, start=1):
        saga, problem = result.get("saga"), result.get("problem")
        made.add_row(
            screen.cell(number),
            screen.cell(saga["id"] if saga else ""),
            screen.status_cell(saga["status"] if saga else "refused"),
            screen.cell(_why(problem) if problem else ""),
        )
    return made


def _why(problem: Any) -> str:
    from sagakeep.commands.client import words_of

    return "; ".join(words_of(problem, " "))
