"""The source of many sagas: a running server, page by page, or the journal of a directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sagakeep.commands.client import Client
    from sagakeep.published import SagaView


def sagas_of(
    client: Client, data: str | None, status: str, name: str, tags: tuple[str, ...], since: str
) -> Iterator[SagaView]:
    """The sagas that meet all filters, of which "" is none; of `data` if it is given. Raises BadParameter."""
    from sagakeep.commands.show import filters_of

    query = {key: value for key, value in (("status", status), ("name", name)) if value}
    wanted = {**query, **filters_of(tags, since)}
    return _of_directory(data, wanted) if data else _of_server(client, wanted)


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
