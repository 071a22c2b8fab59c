"""Queries: the parameters behind the question mark, with all their faults at once."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple

from starlette.requests import Request

from sagakeep import limits
from sagakeep.errors import InvalidMoment
from sagakeep.faults import Faults, found
from sagakeep.feed import Wanted
from sagakeep.moment import AfterEvent, AtTime, Moment
from sagakeep.move_requests import check_reason
from sagakeep.orchestrator import SagaQuery
from sagakeep.pointer import child
from sagakeep.state import SagaStatus

TAG: Final = "tag."
_FILTERS: Final = frozenset({"status", "name", "createdAfter", "createdBefore", "limit", "cursor"})
_ANALYTICS: Final = frozenset({"name", "since", "until"})
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.IGNORECASE
)
_COUNT: Final = re.compile(r"\d{1,18}", re.ASCII)


class EventsQuery(NamedTuple):
    """Which events of a saga: those after a number, at most so many."""

    after: int
    limit: int


def saga_query_of(request: Request) -> SagaQuery:
    """Read the filters of a list of sagas. Raises InvalidDefinition."""
    faults = Faults()
    given = _single(request, faults)
    tags = _tags(given, faults)
    _refuse_unknown(given, _FILTERS, faults)
    query = SagaQuery(
        status=_status(given, faults),
        name=given.get("name"),
        tags=tags,
        created_after=_time(given, "createdAfter", faults),
        created_before=_time(given, "createdBefore", faults),
        limit=_limit(given, faults),
        cursor=given.get("cursor", ""),
    )
    faults.raise_any()
    return query


def analytics_query_of(request: Request) -> SagaQuery:
    """Read which sagas are to be looked at together. Raises InvalidDefinition."""
    faults = Faults()
    given = _single(request, faults)
    tags = _tags(given, faults)
    _refuse_unknown(given, _ANALYTICS, faults)
    query = SagaQuery(
        name=given.get("name"),
        tags=tags,
        created_after=_time(given, "since", faults),
        created_before=_time(given, "until", faults),
        limit=limits.ANALYTICS_SAGAS_MAX,
    )
    faults.raise_any()
    return query


def moment_of(request: Request) -> Moment | None:
    """Read as of when a saga is to be shown, None for now. Raises InvalidMoment."""
    given = request.query_params.getlist("at")
    if not given:
        return None
    text = given[0].replace(" ", "+")
    at_utc_s = time_in(text)
    if len(given) > 1:
        raise InvalidMoment("at is given twice")
    if _COUNT.fullmatch(text):
        return AfterEvent(int(text))
    if at_utc_s is None:
        example = 'the seq of an event, or a time such as "2026-01-31T12:00:00Z"'
        raise InvalidMoment(f"at is {found(given[0])}; expected {example}")
    return AtTime(at_utc_s)


def events_query_of(request: Request) -> EventsQuery:
    """Read which events are wanted; Last-Event-ID is where a stream goes on. Raises InvalidDefinition."""
    faults = Faults()
    given = _single(request, faults)
    _refuse_unknown(given, {"limit", "cursor"}, faults)
    after = _sequence(given.get("cursor"), "/cursor", faults)
    last_seen = _sequence(request.headers.get("last-event-id"), "/Last-Event-ID", faults)
    limit = _limit(given, faults)
    faults.raise_any()
    return EventsQuery(max(after or 0, last_seen or 0), limit)


def wanted_of(request: Request) -> Wanted:
    """Read which events of all sagas are wanted. Raises InvalidDefinition."""
    faults = Faults()
    given = _single(request, faults)
    _refuse_unknown(given, {"name", "status"}, faults)
    wanted = Wanted(given.get("name"), _status(given, faults))
    faults.raise_any()
    return wanted


def reason_of(request: Request) -> str:
    """Read why, where there is no body to say it in. Raises InvalidDefinition."""
    faults = Faults()
    given = _single(request, faults)
    _refuse_unknown(given, {"reason"}, faults)
    reason = given.get("reason", "")
    check_reason(reason, faults)
    faults.raise_any()
    return reason


def wants_plan(request: Request) -> bool:
    """Is it only asked what would be done? Raises InvalidDefinition."""
    faults = Faults()
    given = _single(request, faults)
    _refuse_unknown(given, {"plan"}, faults)
    plan = given.get("plan", "false")
    if plan not in ("true", "false"):
        faults.add("/plan", f"is {found(plan)}; expected true or false")
    faults.raise_any()
    return plan == "true"


def _single(request: Request, faults: Faults) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            faults.add(child("", name), "is given twice")
        given[name] = value
    return given


def _tags(given: dict[str, str], faults: Faults) -> tuple[tuple[str, str], ...]:
    """Take the tags out of what is given."""
    tags = {name: given.pop(name) for name in list(given) if name.startswith(TAG)}
    if TAG in tags:
        faults.add(child("", TAG), "has no key; expected tag.KEY=value")
    return tuple([(name.removeprefix(TAG), value) for name, value in tags.items()])


def _refuse_unknown(given: Collection[str], known: Collection[str], faults: Faults) -> None:
    for name in given:
        if name not in known:
            hint = faults.hint(name, known)
            faults.add(child("", name), f"is an unknown query parameter{hint}")


def _status(given: dict[str, str], faults: Faults) -> SagaStatus | None:
    status = given.get("status")
    if status is None:
        return None
    if status in list(SagaStatus):
        return SagaStatus(status)
    faults.add("/status", f"is {found(status)}; expected one of {', '.join(SagaStatus)}")
    return None


def _time(given: dict[str, str], name: str, faults: Faults) -> float | None:
    if name not in given:
        return None
    text = given[name].replace(" ", "+")  # a "+" that the client did not escape
    at_utc_s = time_in(text)
    if at_utc_s is None:
        faults.add(f"/{name}", f'is {found(text)}; expected a time such as "2026-01-31T12:00:00Z"')
    return at_utc_s


def time_in(text: str) -> float | None:
    """The time that a text is, None for none."""
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        pass  # the form is right, but there is no such day or hour
    return None


def _limit(given: dict[str, str], faults: Faults) -> int:
    text = given.get("limit", str(min(limits.PAGE_DEFAULT, limits.PAGE_MAX)))
    if _COUNT.fullmatch(text) and 1 <= int(text) <= limits.PAGE_MAX:
        return int(text)
    faults.add("/limit", f"is {found(text)}; expected an integer from 1 to {limits.PAGE_MAX}")
    return limits.PAGE_DEFAULT


def _sequence(text: str | None, pointer: str, faults: Faults) -> int | None:
    if text is None:
        return None
    if _COUNT.fullmatch(text):
        return int(text)
    faults.add(pointer, f"is {found(text)}; expected the seq of the last event that was seen")
    return None
