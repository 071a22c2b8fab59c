"""The source of many sagas: a running server, page by page, or the journal of a directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from sagakeep.commands.client import Client
    from sagakeep.published import SagaView
    from sagakeep.state import SagaState

_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def sagas_of(
    client: Client, data: str | None, status: str, name: str, tags: tuple[str, ...], since: str
) -> Iterator[SagaView]:
    """The sagas that meet all filters, of which "" is none; of `data` if it is given. Raises BadParameter."""
    wanted = query_of(status, name, tags, since)
    if data:
        return (view for _state, view in in_directory(data, wanted))
    return _of_server(client, wanted)


def query_of(
    status: str, name: str, tags: tuple[str, ...], since: str, until: str = ""
) -> dict[str, str | list[str]]:
    """The filters as a query of the list, of which "" is none. Raises BadParameter."""
    given = (
        ("status", status),
        ("name", name),
        ("createdAfter", _time_of(since)),
        ("createdBefore", _time_of(until)),
    )
    query: dict[str, str | list[str]] = {key: value for key, value in given if value}
    for tag in tags:
        key, sign, value = tag.partition("=")
        if not (key and sign):
            raise click.BadParameter(f"{tag!r} is no KEY=VALUE", param_hint="--tag")
        query[f"tag.{key}"] = value
    return query


def _time_of(since: str) -> str:
    match = _AGO.fullmatch(since)
    if match is None:
        return since  # the server says what is wrong with it
    ago = timedelta(**{_UNITS[match[2]]: int(match[1])})
    return (datetime.now(UTC) - ago).isoformat().replace("+00:00", "Z")


def _of_server(client: Client, wanted: dict[str, str | list[str]]) -> Iterator[SagaView]:
    from sagakeep.limits import PAGE_MAX

    return client.pages("/api/sagas", "sagas", {"limit": str(PAGE_MAX), **wanted})


def in_directory(
    directory: str, wanted: dict[str, str | list[str]]
) -> Iterator[tuple[SagaState, SagaView]]:
    """The sagas of a directory that the same filters let through. Raises BadParameter."""
    from sagakeep.offline.saga_listing import states_in
    from sagakeep.view import saga_view

    meets = _meets(wanted)
    both = ((state, saga_view(state)) for state in states_in(directory))
    return ((state, view) for state, view in both if meets(view))


def _meets(wanted: dict[str, str | list[str]]) -> Callable[[SagaView], bool]:
    """The filters of the API, for who has no server to apply them."""
    first = _bound(str(wanted.get("createdAfter", "0001-01-01T00:00:00Z")), "--since")
    last = _bound(str(wanted.get("createdBefore", "9999-12-31T23:59:59Z")), "--until")
    tags = {
        key.removeprefix("tag."): value for key, value in wanted.items() if key.startswith("tag.")
    }

    def meets(saga: SagaView) -> bool:
        return (
            wanted.get("status", saga["status"]) == saga["status"]
            and wanted.get("name", saga["name"]) == saga["name"]
            and all(saga["tags"].get(key) == value for key, value in tags.items())
            and first <= datetime.fromisoformat(saga["createdAt"]) <= last
        )

    return meets


def _bound(text: str, option: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        words = f'{text!r} is no time; expected one such as "2026-01-31T12:00:00Z", or 2h'
        raise click.BadParameter(words, param_hint=option)
    return at
