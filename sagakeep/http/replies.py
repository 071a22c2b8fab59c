"""Replies: what handlers answer with, and the types of those bodies that no view has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NotRequired, TypedDict

import anyio.lowlevel
import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sagakeep.alert import Severity
from sagakeep.findings.finding import Finding
from sagakeep.orchestrator import ServiceState
from sagakeep.published import AlertView, Cursor, EventView, SagaView, Time
from sagakeep.service_pause import ServicePause
from sagakeep.state import SagaState
from sagakeep.view import etag_of, saga_view, time_view

JSON: Final = "application/json"
TEXT: Final = "text/plain"
CHUNK_BYTES: Final = 64 << 10  # of a page that is encoded and sent at a time


class SagaPageView(TypedDict):
    """Sagas, newest first."""

    sagas: list[SagaView]
    nextCursor: Cursor


class EventPageView(TypedDict):
    """Events of one saga, oldest first."""

    events: list[EventView]
    nextCursor: Cursor


class FaultView(TypedDict):
    """One thing that is wrong: where (a JSON Pointer, or the parameter or header) and what."""

    pointer: str
    detail: str


class Problem(TypedDict):
    """An error (RFC 9457). `sagaStatus` and `allowed` come with a refused move."""

    type: str
    title: str
    status: int
    detail: str
    instance: NotRequired[str]
    errors: NotRequired[list[FaultView]]
    sagaStatus: NotRequired[str]
    allowed: NotRequired[list[str]]


class CreatedSagaView(SagaView):
    """A saga that was begun; `findings` with `Prefer: findings`, and then also when there are none."""

    findings: NotRequired[list[Finding]]


class BatchEntry(TypedDict):
    """What became of one saga of a batch: `saga` (and `findings`, if preferred) with 201, else `problem`."""

    status: int
    saga: NotRequired[SagaView]
    findings: NotRequired[list[Finding]]
    problem: NotRequired[Problem]


class BatchView(TypedDict):
    """One entry for each saga of the batch, in order."""

    results: list[BatchEntry]


class CheckView(TypedDict):
    """How one part of the server is; `detail` is for people."""

    ok: bool
    detail: str


class HealthView(TypedDict):
    """How the server is: `ok` when every check is, else `unavailable`; how many alerts there are, and which
    services an operator has paused."""

    status: str
    checks: dict[str, CheckView]
    alerts: dict[Severity, int]
    pausedServices: list[str]


class AlertsView(TypedDict):
    """What a person should know now, the worst first."""

    alerts: list[AlertView]


class BreakerView(TypedDict):
    """Whether a service is called: `closed` always, `open` not at all, `half_open` by one probe that is under
    way. `failures` are those in a row."""

    state: Literal["closed", "open", "half_open"]
    since: Time
    failures: int


class ServicePauseView(TypedDict):
    """Who lets nobody call a service, since when and why."""

    since: Time
    by: str
    reason: str


class ServiceView(TypedDict):
    """What a service is asked, and what waits for it. While it is `paused` no call begins. `rateLimit` is what
    its configuration allows in a second, `rate` what may begin in a second just now, null for any number;
    `heldOffUntil` is what it asked for by Retry-After; `nextAt` when the next attempt that waits may begin, null
    when it only waits for others to end."""

    name: str
    breaker: BreakerView
    inFlight: int
    maxConcurrency: int
    queued: int
    maxQueue: int
    attempts: int
    rateLimit: float | None
    rate: float | None
    heldOffUntil: Time | None
    nextAt: Time | None
    paused: ServicePauseView | None


class ServiceRetryView(TypedDict):
    """How many sagas were let go on at once, and how many refused."""

    retried: int
    refused: int


class ServicesView(TypedDict):
    """The services, by name."""

    services: list[ServiceView]


class WhoView(TypedDict):
    """Who asks: the name of the key and its role; `isKeyed` is false where the server wants no keys."""

    name: str
    role: Literal["viewer", "operator", "admin"]
    isKeyed: bool


def service_view(name: str, state: ServiceState) -> ServiceView:
    """Show a service."""
    pause = state.paused
    return {
        "name": name,
        "breaker": {
            "state": state.breaker.value,
            "since": time_view(state.breaker_since_utc_s),
            "failures": state.failures,
        },
        "inFlight": state.in_flight,
        "maxConcurrency": state.concurrency,
        "queued": state.queued,
        "maxQueue": state.queue_max,
        "attempts": state.attempts,
        "rateLimit": state.rate_limit_per_s,
        "rate": state.rate_per_s,
        "heldOffUntil": _time_or_none(state.held_off_until_utc_s),
        "nextAt": _time_or_none(state.next_at_utc_s if state.queued else None),
        "paused": None if pause is None else _pause_view(pause),
    }


def _pause_view(pause: ServicePause) -> ServicePauseView:
    return {"since": time_view(pause.since_utc_s), "by": pause.by, "reason": pause.note}


def _time_or_none(at_utc_s: float | None) -> str | None:
    return None if at_utc_s is None else time_view(at_utc_s)


def json_reply(
    body: object, status_code: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with any value of ours."""
    return Response(msgspec.json.encode(body), status_code, headers, JSON)


def saga_reply(
    state: SagaState, status_code: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a saga and its version."""
    return json_reply(saga_view(state), status_code, {"ETag": etag_of(state), **(headers or {})})


def created_reply(
    state: SagaState,
    status_code: int,
    headers: Mapping[str, str],
    findings: Sequence[Finding] | None,
) -> Response:
    """Answer with a saga that was begun, and with its findings unless they are None."""
    if findings is None:
        return saga_reply(state, status_code, headers)
    view = {**saga_view(state), "findings": findings}
    return json_reply(view, status_code, {"ETag": etag_of(state), **headers})


class PageReply(Response):
    """`{name: [...], ...rest}`, encoded and sent bit by bit: five hundred sagas may be five hundred megabytes."""

    media_type = JSON

    def __init__(
        self, name: str, items: Iterable[object], rest: Mapping[str, object] | None = None
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        tail = msgspec.json.encode(rest or {})
        self._chunks = _chunks(name, items, b"}" if not rest else b"," + tail[1:])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await anyio.lowlevel.checkpoint()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _chunks(name: str, items: Iterable[object], tail: bytes) -> Iterator[bytes]:
    chunk = bytearray(b"{" + msgspec.json.encode(name) + b":[")
    comma = b""
    for item in items:
        chunk += comma
        chunk += msgspec.json.encode(item)
        comma = b","
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk) + b"]" + tail
