"""The routes of what is asked of all sagas, or of many, at once; for the table of all routes."""

from __future__ import annotations

from typing import Final

from sagakeep.http import fleet_handlers as handlers
from sagakeep.http.bulk_reply import NDJSON, BulkLineView, BulkPlanView
from sagakeep.http.bulk_requests import BulkRequest
from sagakeep.http.handlers import Handler
from sagakeep.http.move_routes import ACTOR
from sagakeep.http.replies import ServiceRetryView, ServiceView
from sagakeep.http.schema import Answer, Body, Operation, Parameter
from sagakeep.http.sse import MEDIA_TYPE
from sagakeep.move_requests import RetryRequest
from sagakeep.published import FeedEventView
from sagakeep.state import SagaStatus

_TEXT: Final = {"type": "string"}


def _of_service(verb: str, handler: Handler, summary: str) -> Operation:
    return Operation(
        "PUT",
        f"/api/services/{{name}}/{verb}",
        handler,
        summary,
        {200: [Answer("The service, now.", ServiceView)]},
        errors=(404, 415, 422),
        parameters=(ACTOR,),
        body=Body(RetryRequest, is_required=False),
    )


FLEET_ROUTES: Final = (
    Operation(
        "POST",
        "/api/sagas/bulk",
        handlers.move_sagas,
        "Make one move of many sagas; with `plan` only count them.",
        {
            200: [
                Answer("With `plan`: what it would be about,", BulkPlanView),
                Answer("else a line for each saga, as it moves or refuses.", BulkLineView, NDJSON),
            ]
        },
        errors=(409, 415, 422),
        parameters=(ACTOR,),
        body=Body(
            BulkRequest,
            example={"move": "retry", "filter": {"status": "failed"}, "plan": True},
        ),
    ),
    _of_service(
        "pause",
        handlers.pause_service,
        "Let no call of a service begin until it is resumed, over restarts too.",
    ),
    _of_service(
        "retry",
        handlers.retry_service,
        "Make every attempt at a service now that is planned for later; retry what could not be undone there.",
    )._replace(answers={200: [Answer("How many sagas go on.", ServiceRetryView)]}),
    _of_service("resume", handlers.resume_service, "Let calls of a service begin again."),
    Operation(
        "GET",
        "/api/events",
        handlers.follow_sagas,
        "Follow all sagas: every durable event, without what was paid or said.",
        {
            200: [
                Answer(
                    "Server-sent events, for ever, each with this as `data`. `ready`: what comes is live;"
                    " `gap`: events were lost and all is to be listed anew.",
                    FeedEventView,
                    MEDIA_TYPE,
                )
            ]
        },
        errors=(422,),
        parameters=(
            Parameter("name", "query", _TEXT, "Events of sagas of this name."),
            Parameter(
                "status",
                "query",
                {"enum": list(SagaStatus)},
                "Events after which the saga stands in this status.",
            ),
            Parameter(
                "Last-Event-ID", "header", _TEXT, "The id of the last event seen: go on after it."
            ),
        ),
    ),
)
