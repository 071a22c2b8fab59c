"""Handlers of what is asked of all sagas, or of many, at once."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sagakeep.http.bulk_reply import BulkReply, plan_view
from sagakeep.http.bulk_requests import read_bulk
from sagakeep.http.feed_stream import FeedStream
from sagakeep.http.queries import wanted_of
from sagakeep.http.replies import json_reply, service_view
from sagakeep.http.requests import actor_of, read_move
from sagakeep.http.sse import MEDIA_TYPE
from sagakeep.move_requests import RetryRequest
from sagakeep.orchestrator import Orchestrator


async def move_sagas(orchestrator: Orchestrator, request: Request) -> Response:
    fleet, bulk = orchestrator.fleet, await read_bulk(request)
    wish, chosen = bulk.said.wish(actor_of(request)), bulk.chosen
    if not bulk.is_plan:
        if bulk.token or chosen.query is not None:
            chosen = fleet.as_planned(chosen, bulk.about, bulk.token)
        plan = await fleet.plan_moves(chosen, bulk.about)
        return BulkReply(orchestrator, wish, chosen, plan.count)
    return json_reply(plan_view(bulk.move, await fleet.plan_moves(chosen, bulk.about)))


async def pause_service(orchestrator: Orchestrator, request: Request) -> Response:
    name, wish = request.path_params["name"], await read_move(request, RetryRequest)
    by = actor_of(request)
    state = await orchestrator.fleet.pause_service(name, by=by, note=wish.reason)
    return json_reply(service_view(name, state))


async def resume_service(orchestrator: Orchestrator, request: Request) -> Response:
    name, wish = request.path_params["name"], await read_move(request, RetryRequest)
    by = actor_of(request)
    state = await orchestrator.fleet.resume_service(name, by=by, note=wish.reason)
    return json_reply(service_view(name, state))


async def retry_service(orchestrator: Orchestrator, request: Request) -> Response:
    name, wish = request.path_params["name"], await read_move(request, RetryRequest)
    by = actor_of(request)
    done = await orchestrator.fleet.retry_service(name, by=by, note=wish.reason)
    return json_reply({"retried": done.retried, "refused": done.refused})


async def follow_sagas(orchestrator: Orchestrator, request: Request) -> Response:
    wanted = wanted_of(request)
    if request.method == "HEAD":
        return Response(media_type=MEDIA_TYPE)
    await request.body()  # a GET has none, and the stream is not to wait for one
    return FeedStream(orchestrator, wanted, request.headers.get("last-event-id"))
