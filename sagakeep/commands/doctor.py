"""The command that looks for what is wrong: `doctor`."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from sagakeep.commands.options import JSON_OPTION, asks_server

if TYPE_CHECKING:
    from sagakeep.commands.client import Client

CLOCK_SKEW_S_MAX: Final = 5.0


class Result(NamedTuple):
    """One look: `mark` is good, warning or bad; `remedy` says what to do where it is not good."""

    name: str
    mark: str
    detail: str
    remedy: str = ""


@click.command()
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, exists=True),
    help="Look at this data directory, too.",
)
@JSON_OPTION
@asks_server
def doctor(client: Client, data: str | None, as_json: bool) -> None:
    """Look at a server from all sides, and say what is wrong and what to do. Exits with 1 when something is."""
    from sagakeep.commands import screen

    results = [*_results(client), *(_directory_results(data) if data else ())]
    if screen.is_for_people(as_json):
        styles = {"good": "green", "warning": "yellow", "bad": "bold red"}
        made = screen.table("", "CHECK", "~FOUND", "WHAT TO DO")
        for one in results:
            mark = screen.cell(one.mark, styles[one.mark])
            made.add_row(mark, *(screen.cell(text) for text in (one.name, one.detail, one.remedy)))
        screen.show(made)
    else:
        screen.print_lines(one._asdict() for one in results)
    if any(one.mark == "bad" for one in results):
        raise click.exceptions.Exit(1)


def _results(client: Client) -> Iterator[Result]:
    from sagakeep.errors import AccessRefused, RequestRefused, ServerUnreachable

    try:
        answer = client.ask("GET", "/api/sagas/health", may_fail=True)
    except ServerUnreachable as error:
        remedy = "start it (`sagakeep serve`), or say where it is: --url, SAGAKEEP_URL"
        yield Result("server", "bad", str(error), remedy)
        return
    yield Result("server", "good", f"answers at {client.url}")
    yield _clock(answer.headers.get("date", ""))
    if isinstance(answer.body, dict) and "checks" in answer.body:
        for name, check in answer.body["checks"].items():
            mark, remedy = ("good", "") if check["ok"] else ("bad", _REMEDIES.get(name, ""))
            yield Result(name, mark, check["detail"], remedy)
    else:
        yield Result(
            "api", "bad", "it is no sagakeep", "look at --url: something else answers there"
        )
        return
    try:
        yield Result("api", "good", f"version {client.get('/openapi.json')['info']['version']}")
        yield from _services(client)
        yield from _alerts(client)
    except AccessRefused as error:
        remedy = (
            "give a key: --token-file, SAGAKEEP_TOKEN; `sagakeep key new --role viewer` makes one"
        )
        yield Result("key", "bad", str(error), remedy)
    except RequestRefused as error:
        yield Result("api", "bad", str(error), "the server's log says more")


_REMEDIES: Final = {
    "journal": "look after the disk of the data directory; sagas wait, nothing is lost",
    "registry": "it is stopping: wait for the next start",
    "recovery": "wait: it takes its sagas up again",
    "disk": "free some space on the disk of the data directory",
    "capacity": "wait until sagas have ended, or begin fewer; `sagakeep top` shows what they wait for",
}


def _clock(date: str) -> Result:
    try:
        skew_s = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    except (TypeError, ValueError):
        return Result("clock", "warning", "the server does not say what time it is")
    if skew_s > CLOCK_SKEW_S_MAX:
        remedy = "set both clocks by NTP: times in lists are the server's"
        return Result("clock", "warning", f"{skew_s:.0f} s apart from this machine's", remedy)
    return Result("clock", "good", "agrees with this machine's")


def _services(client: Client) -> Iterator[Result]:
    for one in client.get("/api/services")["services"]:
        state, queued = one["breaker"]["state"], one["queued"]
        detail = f"breaker {state}, {one['inFlight']} in flight, {queued} queued"
        if state == "closed":
            yield Result(f"service {one['name']}", "good", detail)
        else:
            remedy = "it counts as down: look at the service; its calls go on by themselves"
            yield Result(f"service {one['name']}", "bad", detail, remedy)


def _alerts(client: Client) -> Iterator[Result]:
    alerts = client.get("/api/alerts")["alerts"]
    for one in alerts:
        mark = "bad" if one["severity"] == "critical" else "warning"
        yield Result(f"alert {one['rule']}", mark, one["summary"], one["advice"])
    if not alerts:
        yield Result("alerts", "good", "none")


def _directory_results(directory: str) -> Iterator[Result]:
    from sagakeep.limits import DISK_RESERVE_BYTES

    mode = stat.S_IMODE(os.stat(directory).st_mode)
    if mode & 0o077:
        remedy = f"chmod 700 {directory}: it holds what clients posted"
        yield Result("directory", "warning", f"mode {mode:o}: others may read it", remedy)
    else:
        yield Result("directory", "good", f"mode {mode:o}")
    free = shutil.disk_usage(directory).free
    detail = f"{free >> 20} MiB free, of which {DISK_RESERVE_BYTES >> 20} are kept in reserve"
    is_short = free < 4 * DISK_RESERVE_BYTES
    yield Result(
        "space", "warning" if is_short else "good", detail, "free some space" if is_short else ""
    )
