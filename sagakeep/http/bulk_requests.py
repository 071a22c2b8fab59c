"""The request of a bulk: which move of which sagas, read strictly and told in one go."""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta
from starlette.requests import Request

from sagakeep import limits
from sagakeep.bulk import Chosen
from sagakeep.conversion import read_struct
from sagakeep.definition import Json
from sagakeep.errors import InvalidDefinition
from sagakeep.faults import Faults, found
from sagakeep.http.queries import time_in
from sagakeep.http.requests import read_object
from sagakeep.move_requests import MoveRequest
from sagakeep.moves import MOVES
from sagakeep.orchestrator import SagaQuery
from sagakeep.state import SagaStatus

Time = Annotated[str | None, Meta(extra_json_schema={"format": "date-time"})]
Ids = Annotated[tuple[str, ...], Meta(extra_json_schema={"maxItems": limits.BULK_IDS_MAX})]
Body = Annotated[
    dict[str, Json], Meta(description="What the body of this move of one saga would say.")
]


class BulkFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which sagas: all filters must be met; without any it is all sagas."""

    status: SagaStatus | None = None
    name: str | None = None
    tags: dict[str, str] = {}
    createdAfter: Time = None  # noqa: N815 -- the name on the wire
    createdBefore: Time = None  # noqa: N815 -- as above


class BulkRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One move of many sagas: of those that `filter` lets through, or of `ids`.

    With `plan` it only counts them, and gives a `token`; a filter wants the token of its plan.
    """

    move: str
    filter: BulkFilter | None = None
    ids: Ids = ()
    body: Body = {}
    plan: bool = False
    token: str = ""


class Bulk(NamedTuple):
    """A request that was read: what its move says, of which sagas, and `about` what its token is."""

    said: MoveRequest
    chosen: Chosen
    move: str
    about: object
    is_plan: bool
    token: str


_KINDS: Final = {kind.name: kind for kind in MOVES}


async def read_bulk(request: Request) -> Bulk:
    """Read a bulk. Raises HTTPException 415, MalformedJson, InvalidDefinition."""
    document = await read_object(request)
    faults = Faults()
    given = None
    if isinstance(document, dict) and document.get("filter") is not None:
        given = read_struct(BulkFilter, document.pop("filter"), faults, "/filter")
    asked = read_struct(BulkRequest, document, faults)
    faults.raise_any()
    said = _said(asked, faults)
    query = None if given is None else _query(given, faults)
    if (given is None) == (not asked.ids):
        faults.add("/filter", "say which sagas, by a filter (it may be {}) or by ids")
    elif given is not None and not asked.plan and not asked.token:
        faults.add("/token", "is missing: send it with plan true first, and then with its token")
    if len(asked.ids) > limits.BULK_IDS_MAX:
        faults.add("/ids", f"are {len(asked.ids)}; allowed are up to {limits.BULK_IDS_MAX}")
    faults.raise_any()
    about = [asked.move, given, asked.ids, asked.body]
    chosen = Chosen(query, tuple(dict.fromkeys(asked.ids)))
    return Bulk(said, chosen, asked.move, about, asked.plan, asked.token)


def _said(asked: BulkRequest, faults: Faults) -> MoveRequest:
    """What the move says, of which nothing is known if it is none."""
    kind = _KINDS.get(asked.move)
    if kind is None:
        hint = faults.hint(asked.move, _KINDS)
        faults.add("/move", f"is {found(asked.move)}, which is no move{hint}")
        return MoveRequest()
    inner = Faults()
    said = read_struct(kind.request, asked.body, inner)
    try:
        inner.raise_any()
        said.check(inner)
        inner.raise_any()
    except InvalidDefinition as error:
        for fault in error.faults:
            faults.add(f"/body{fault.pointer}", fault.detail)
    return said


def _query(given: BulkFilter, faults: Faults) -> SagaQuery:
    return SagaQuery(
        status=given.status,
        name=given.name,
        tags=tuple(given.tags.items()),
        created_after=_time(given.createdAfter, "createdAfter", faults),
        created_before=_time(given.createdBefore, "createdBefore", faults),
    )


def _time(text: str | None, name: str, faults: Faults) -> float | None:
    if text is None:
        return None
    at_utc_s = time_in(text)
    if at_utc_s is None:
        example = 'expected a time such as "2026-01-31T12:00:00Z"'
        faults.add(f"/filter/{name}", f"is {found(text)}; {example}")
    return at_utc_s
