"""The commands about a service: `service ls`, `pause`, `resume` and `retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from sagakeep.commands.options import JSON_OPTION, REASON_OPTION, asks_server

if TYPE_CHECKING:
    from rich.text import Text

    from sagakeep.commands.client import Client

_NAME: Final = click.argument("name", metavar="NAME")


@click.group()
def service() -> None:
    """Look at services, and say whether they may be called."""


@service.command("ls")
@JSON_OPTION
@asks_server
def list_services(client: Client, as_json: bool) -> None:
    """List the services: what each is asked, and what waits for it."""
    from sagakeep.commands import screen

    services = client.get("/api/services")["services"]
    if screen.is_for_people(as_json):
        screen.show(service_table(services))
    else:
        screen.print_lines(services)


@service.command()
@_NAME
@REASON_OPTION
@JSON_OPTION
@asks_server
def pause(client: Client, name: str, reason: str, as_json: bool) -> None:
    """Let no call of the service NAME begin until it is resumed, over restarts too; what is in flight ends."""
    _put(client, name, "pause", reason, as_json)


@service.command()
@_NAME
@REASON_OPTION
@JSON_OPTION
@asks_server
def resume(client: Client, name: str, reason: str, as_json: bool) -> None:
    """Let calls of the service NAME begin again, those that wait first."""
    _put(client, name, "resume", reason, as_json)


@service.command()
@_NAME
@REASON_OPTION
@JSON_OPTION
@asks_server
def retry(client: Client, name: str, reason: str, as_json: bool) -> None:
    """Make every attempt at the service NAME now that waits for its time, and retry what could not be undone
    there."""
    from sagakeep.commands import screen

    done = _ask(client, name, "retry", reason)
    if screen.is_for_people(as_json):
        screen.show(f"{name}: {done['retried']} sagas go on, {done['refused']} refused")
    else:
        screen.print_json(done)


def service_table(services: list[Any]) -> object:
    """Services, a row each."""
    from sagakeep.commands import screen

    made = screen.table("SERVICE", "STATE", ">IN FLIGHT", ">QUEUED", ">CALLS", "WHY")
    for one in services:
        made.add_row(*state_cells(one), screen.cell(one["attempts"]), screen.cell(_why(one)))
    return made


def state_cells(service: Any) -> list[Text]:
    """How a service is: its name, `paused` or how its breaker is, what is in flight, what waits."""
    from sagakeep.commands import screen

    state = "paused" if service.get("paused") else str(service["breaker"]["state"])
    return [
        screen.cell(service["name"]),
        screen.cell(state, "" if state == "closed" else "bold red"),
        screen.cell(f"{service['inFlight']}/{service['maxConcurrency']}"),
        screen.cell(service["queued"]),
    ]


def _why(service: Any) -> str:
    paused = service.get("paused")  # a server that is older has none
    from sagakeep.commands.screen import short_time

    if not paused:
        return ""
    who = f"{paused['by']}: " if paused["by"] else ""
    return f"since {short_time(paused['since'])} {who}{paused['reason']}"


def _ask(client: Client, name: str, verb: str, reason: str) -> Any:
    from urllib.parse import quote

    path = f"/api/services/{quote(name, safe='')}/{verb}"
    return client.ask("PUT", path, {"reason": reason} if reason else None).body


def _put(client: Client, name: str, verb: str, reason: str, as_json: bool) -> None:
    from sagakeep.commands import screen

    now = _ask(client, name, verb, reason)
    if screen.is_for_people(as_json):
        waits = f"{now['queued']} attempts wait, {now['inFlight']} are in flight"
        screen.show(f"{name}: {'paused' if now['paused'] else 'may be called'}; {waits}")
    else:
        screen.print_json(now)
