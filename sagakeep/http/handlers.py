"""Handlers: each turns a request into one wish or question, and the answer into a reply.

What goes wrong is raised and becomes a problem document in one place (`sagakeep.http.problems`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from sagakeep.alert import Severity
from sagakeep.analytics import analytics_view
from sagakeep.definition import SagaDefinition
from sagakeep.errors import Fault, InvalidDefinition, SagakeepError
from sagakeep.events import Record
from sagakeep.explanation_text import explanation_text
from sagakeep.explanation_view import explanation_view
from sagakeep.findings.checked import checked
from sagakeep.findings.finding import Finding
from sagakeep.findings.review import findings_in
from sagakeep.http.auth import LOCAL, Principal
from sagakeep.http.problems import document_of
from sagakeep.http.queries import (
    analytics_query_of,
    events_query_of,
    moment_of,
    saga_query_of,
)
from sagakeep.http.replies import (
    JSON,
    TEXT,
    PageReply,
    created_reply,
    json_reply,
    saga_reply,
    service_view,
)
from sagakeep.http.requests import (
    actor_of,
    idempotency_key_of,
    is_unchanged,
    read_batch,
    read_definition,
    read_text,
    refuse_idempotency_key,
    saga_id_of,
    traceparent_of,
    wait_s_of,
    wants_findings,
    wants_stream,
    wants_text,
)
from sagakeep.http.stream import EventStream, is_over
from sagakeep.orchestrator import BadCursor, Orchestrator
from sagakeep.published import EventView
from sagakeep.state import SagaState
from sagakeep.view import alert_view, etag_of, event_views, saga_view, stats_view, status_view

Handler = Callable[[Orchestrator, Request], Awaitable[Response]]

STEPS_ON_LOOP_MAX: Final = 20  # a review of more may take longer than a thread costs
_reviewers: Final = anyio.CapacityLimiter(1)
METRICS_MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


async def create_saga(orchestrator: Orchestrator, request: Request) -> Response:
    idempotency_key = idempotency_key_of(request)
    definition, digest = await read_definition(request, orchestrator.services)
    state, is_new = await orchestrator.start(
        definition,
        by=actor_of(request),
        idempotency_key=idempotency_key,
        body_digest=digest if idempotency_key else b"",
        traceparent=traceparent_of(request),
    )
    headers = {"Location": f"/api/sagas/{state.id}"}
    if not is_new:
        headers["Idempotency-Replayed"] = "true"
    wait_s = wait_s_of(request)
    if wait_s is not None:
        state = await orchestrator.wait(state.id, wait_s)
    findings = await _findings_of(state.definition) if wants_findings(request) else None
    applied = [f"wait={wait_s:g}"] if wait_s is not None else []
    applied += ["findings"] if findings is not None else []
    if applied:
        headers["Preference-Applied"] = ", ".join(applied)
    return created_reply(state, 201 if is_new else 200, headers, findings)


async def _findings_of(definition: SagaDefinition) -> list[Finding]:
    """Review a definition, a large one in a thread, so that the loop is never held up."""
    if len(definition.steps) <= STEPS_ON_LOOP_MAX:
        return findings_in(definition)
    return await anyio.to_thread.run_sync(findings_in, definition, limiter=_reviewers)


async def check_definition(orchestrator: Orchestrator, request: Request) -> Response:
    body = await read_text(request)
    view = await anyio.to_thread.run_sync(checked, body, orchestrator.services, limiter=_reviewers)
    return json_reply(view)


async def create_sagas(orchestrator: Orchestrator, request: Request) -> Response:
    refuse_idempotency_key(request)
    batch = await read_batch(request, orchestrator.services)
    valid = [entry for entry in batch if isinstance(entry, SagaDefinition)]
    started = iter(await orchestrator.start_many(valid, by=actor_of(request)))
    results = [next(started) if isinstance(one, SagaDefinition) else one for one in batch]
    with_findings = wants_findings(request)
    entries = (_batch_entry(result, with_findings) for result in results)
    reply = PageReply("results", entries)
    if with_findings:
        reply.headers["Preference-Applied"] = "findings"
    return reply


def _batch_entry(result: SagaState | SagakeepError, with_findings: bool) -> dict[str, object]:
    if isinstance(result, SagaState):
        findings = {"findings": findings_in(result.definition)} if with_findings else {}
        return {"status": 201, "saga": saga_view(result), **findings}
    problem = document_of(result)
    return {"status": problem["status"], "problem": problem}


async def list_sagas(orchestrator: Orchestrator, request: Request) -> Response:
    query = saga_query_of(request)
    try:
        page = await orchestrator.list(query)
    except BadCursor as error:
        raise InvalidDefinition([Fault("/cursor", str(error))]) from None
    rest = {"nextCursor": page.next_cursor or None}
    return PageReply("sagas", map(saga_view, page.sagas), rest)


async def get_saga(orchestrator: Orchestrator, request: Request) -> Response:
    saga_id, moment = saga_id_of(request), moment_of(request)
    if moment is None:
        state = await orchestrator.describe(saga_id)
    else:
        state = await orchestrator.describe_at(saga_id, moment)
    etag = etag_of(state)
    if is_unchanged(request, etag):
        return Response(status_code=304, headers={"ETag": etag})
    return saga_reply(state)


async def get_status(orchestrator: Orchestrator, request: Request) -> Response:
    return json_reply(status_view(await orchestrator.describe(saga_id_of(request))))


async def explain_saga(orchestrator: Orchestrator, request: Request) -> Response:
    view = explanation_view(await orchestrator.explain(saga_id_of(request)))
    if wants_text(request):
        return Response(explanation_text(view), media_type=TEXT)
    return json_reply(view)


async def get_events(orchestrator: Orchestrator, request: Request) -> Response:
    state = await orchestrator.describe(saga_id_of(request))
    query = events_query_of(request)
    if wants_stream(request):
        if is_over(state, query.after):
            return Response(status_code=204)
        await request.body()  # a GET has none, and the stream is not to wait for one
        return EventStream(orchestrator, state, query.after)
    records = await orchestrator.events(state.id, after=query.after, limit=query.limit)
    last = min(_last_sequence(records), query.after + query.limit)
    has_more = last < max(_last_sequence(records), state.sequence)
    rest = {"nextCursor": str(last) if records and has_more else None}
    views = _event_views(records, state.definition, query.after, last)
    return PageReply("events", views, rest)


def _last_sequence(records: Sequence[Record]) -> int:
    return records[-1].sequence + len(records[-1].events) - 1 if records else 0


def _event_views(
    records: Sequence[Record], definition: SagaDefinition, after: int, last: int
) -> Iterator[EventView]:
    for record in records:
        for view in event_views(record, definition):
            if after < view["seq"] <= last:
                yield view


async def get_stats(orchestrator: Orchestrator, request: Request) -> Response:
    now = orchestrator.statistics()
    return json_reply(stats_view(now.by_status, now.completed_count, now.completed_seconds))


async def get_analytics(orchestrator: Orchestrator, request: Request) -> Response:
    query = analytics_query_of(request)
    found = await orchestrator.analytics(query)
    return json_reply(analytics_view(found, query.created_after, query.created_before))


async def get_health(orchestrator: Orchestrator, request: Request) -> Response:
    checks = orchestrator.health()
    is_ok = all(check.ok for check in checks.values())
    shown = {name: check._asdict() for name, check in checks.items()}
    services = orchestrator.service_states()
    severities = [alert.trouble.severity for alert in orchestrator.alerts()]
    body = {
        "status": "ok" if is_ok else "unavailable",
        "checks": shown,
        "alerts": {one: severities.count(one) for one in Severity},
        "pausedServices": sorted(name for name, one in services.items() if one.paused),
    }
    return json_reply(body, 200 if is_ok else 503)


async def get_alerts(orchestrator: Orchestrator, request: Request) -> Response:
    return json_reply({"alerts": [alert_view(alert) for alert in orchestrator.alerts()]})


async def get_services(orchestrator: Orchestrator, request: Request) -> Response:
    states = orchestrator.service_states()
    return json_reply({"services": [service_view(name, states[name]) for name in sorted(states)]})


async def get_metrics(orchestrator: Orchestrator, request: Request) -> Response:
    return Response(orchestrator.metrics(), media_type=METRICS_MEDIA_TYPE)


async def who_am_i(orchestrator: Orchestrator, request: Request) -> Response:
    principal: Principal = request.scope.get("state", {}).get("principal", LOCAL)
    view = {
        "name": principal.name,
        "role": principal.role,
        "isKeyed": principal is not LOCAL,
    }
    return json_reply(view)


async def get_openapi(orchestrator: Orchestrator, request: Request) -> Response:
    document: bytes = request.app.state.openapi
    return Response(document, media_type=JSON)
