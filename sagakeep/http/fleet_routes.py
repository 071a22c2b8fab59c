"""The routes of what is asked of all sagas, or of many, at once; for the table of all routes."""

from __future__ import annotations

from typing import Final

from sagakeep.http import fleet_handlers as handlers
from sagakeep.http.schema import Answer, Operation, Parameter
from sagakeep.http.sse import MEDIA_TYPE
from sagakeep.published import FeedEventView
from sagakeep.state import SagaStatus

_TEXT: Final = {"type": "string"}

FLEET_ROUTES: Final = (
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
