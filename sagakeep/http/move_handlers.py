"""Handlers of moves: each turns a request into one wish of an operator, and the saga after it into the reply."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sagakeep import messages as m
from sagakeep.explanation_view import plan_view
from sagakeep.http.queries import reason_of, wants_plan
from sagakeep.http.replies import json_reply, saga_reply
from sagakeep.http.requests import (
    actor_of,
    read_move,
    saga_id_of,
    traceparent_of,
    versions_of,
)
from sagakeep.move_requests import (
    CompensateRequest,
    EditRequest,
    FinishRequest,
    MoveRequest,
    PauseRequest,
    RerunRequest,
    ResolveRequest,
    ResumeRequest,
    RetryRequest,
    SkipRequest,
)
from sagakeep.orchestrator import Orchestrator
from sagakeep.steering import plan_id_of
from sagakeep.view import etag_of


async def _wish_in(request: Request, kind: type[MoveRequest]) -> tuple[str, m.Wish]:
    """The saga that a request is about, and the wish that it is."""
    saga_id = saga_id_of(request)
    said = await read_move(request, kind)
    return saga_id, said.wish(actor_of(request), versions_of(request))


async def _make(orchestrator: Orchestrator, request: Request, kind: type[MoveRequest]) -> Response:
    saga_id, wish = await _wish_in(request, kind)
    return saga_reply(await orchestrator.move(saga_id, wish), 202)


async def compensate_saga(orchestrator: Orchestrator, request: Request) -> Response:
    is_plan = wants_plan(request)
    saga_id, wish = await _wish_in(request, CompensateRequest)
    assert isinstance(wish, m.Compensate), "it is what the body was read as"
    if not is_plan:
        return saga_reply(await orchestrator.move(saga_id, wish), 202)
    plan, state = await orchestrator.plan_compensation(
        saga_id, step_id=wish.step_id, down_to=wish.down_to
    )
    view = plan_view(plan, plan_id_of(state, wish))
    return json_reply(view, 200, {"ETag": etag_of(state)})


async def retry_saga(orchestrator: Orchestrator, request: Request) -> Response:
    return await _make(orchestrator, request, RetryRequest)


async def resolve_step(orchestrator: Orchestrator, request: Request) -> Response:
    return await _make(orchestrator, request, ResolveRequest)


async def skip_step(orchestrator: Orchestrator, request: Request) -> Response:
    return await _make(orchestrator, request, SkipRequest)


async def edit_step(orchestrator: Orchestrator, request: Request) -> Response:
    return await _make(orchestrator, request, EditRequest)


async def pause_saga(orchestrator: Orchestrator, request: Request) -> Response:
    return await _make(orchestrator, request, PauseRequest)


async def resume_saga(orchestrator: Orchestrator, request: Request) -> Response:
    return await _make(orchestrator, request, ResumeRequest)


async def finish_saga(orchestrator: Orchestrator, request: Request) -> Response:
    return await _make(orchestrator, request, FinishRequest)


async def rerun_saga(orchestrator: Orchestrator, request: Request) -> Response:
    saga_id, wish = await _wish_in(request, RerunRequest)
    started = await orchestrator.rerun(
        saga_id,
        by=wish.by,
        note=wish.note,
        traceparent=traceparent_of(request),
        versions=wish.versions,
    )
    headers = {"Location": f"/api/sagas/{started.saga.id}"}
    return saga_reply(started.saga, 201 if started.is_new else 200, headers)


async def delete_saga(orchestrator: Orchestrator, request: Request) -> Response:
    saga_id = saga_id_of(request)
    note = reason_of(request)
    await orchestrator.delete(
        saga_id, by=actor_of(request), note=note, versions=versions_of(request)
    )
    return Response(status_code=204)
