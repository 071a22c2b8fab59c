"""Routes: every operation of the API in one table, from which it is both served and described.

The fixed words stand before `{id}`, which they would else be taken for.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from sagakeep import limits
from sagakeep.analytics import AnalyticsView
from sagakeep.definition import SagaDefinition
from sagakeep.explained import ExplanationView
from sagakeep.findings.checked import CheckedView
from sagakeep.http import handlers
from sagakeep.http.fleet_routes import FLEET_ROUTES
from sagakeep.http.move_routes import ACTOR, MOVE_ROUTES
from sagakeep.http.replies import (
    TEXT,
    AlertsView,
    BatchView,
    CreatedSagaView,
    EventPageView,
    HealthView,
    SagaPageView,
    ServicesView,
    WhoView,
)
from sagakeep.http.schema import Answer, Body, Operation, Parameter
from sagakeep.published import SagaView, StatsView, StatusView
from sagakeep.state import SagaStatus

Batch = Annotated[
    list[SagaDefinition], Meta(extra_json_schema={"maxItems": limits.BATCH_SAGAS_MAX})
]

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_LIMIT: Final = Parameter(
    "limit",
    "query",
    {
        "type": "integer",
        "minimum": 1,
        "maximum": limits.PAGE_MAX,
        "default": min(limits.PAGE_DEFAULT, limits.PAGE_MAX),
    },
    "How many at most.",
)
_NDJSON: Final = "One saga definition in each line."

_CREATE_HEADERS: Final = (
    ACTOR,
    Parameter(
        "Idempotency-Key",
        "header",
        {"type": "string", "pattern": limits.IDEMPOTENCY_KEY_PATTERN},
        "The same key and body give the same saga again; with another body it is a 422.",
    ),
    Parameter(
        "Prefer",
        "header",
        _TEXT,
        f"wait=N: reply when the saga stands still, or after N (at most {limits.WAIT_S_MAX:g}) seconds. "
        "findings: tell what a reviewer would say about the definition.",
    ),
    Parameter("traceparent", "header", _TEXT, "W3C trace context, passed on to the services."),
)
_FILTERS: Final = (
    Parameter("status", "query", {"enum": list(SagaStatus)}, "Sagas in this status."),
    Parameter("name", "query", _TEXT, "Sagas of this name."),
    Parameter("tag.KEY", "query", _TEXT, "Sagas whose tag KEY has this value; may be repeated."),
    Parameter("createdAfter", "query", _TIME, "Sagas created then or later."),
    Parameter("createdBefore", "query", _TIME, "Sagas created then or earlier."),
    _LIMIT,
    Parameter("cursor", "query", _TEXT, "The nextCursor of the page before."),
)
_EVENTS: Final = (
    _LIMIT,
    Parameter("cursor", "query", _COUNT, "Events after this seq."),
    Parameter("Last-Event-ID", "header", _COUNT, "As cursor, for a stream that goes on."),
)

_SAGA: Final = Answer("The saga.", SagaView, headers=("ETag",))
_APPLIED: Final = ("Preference-Applied",)
_CREATED: Final = ("ETag", "Location", "Preference-Applied")
_ABOUT_IT: Final = (
    "get_saga",
    "get_status",
    "explain_saga",
    "get_events",
    *[one.handler.__name__ for one in MOVE_ROUTES],
)
_ORDER: Final = {
    "name": "order_processing",
    "steps": [
        {
            "id": "reserve_inventory",
            "service": "inventory",
            "action": "reserve",
            "compensation": "release",
            "payload": {"productId": "prod_123", "quantity": 2},
        },
        {
            "id": "process_payment",
            "service": "payment",
            "action": "charge",
            "compensation": "refund",
            "payload": {
                "amount": 99.99,
                "reservation": {"$from": "steps.reserve_inventory.result.reservationId"},
            },
        },
    ],
    "tags": {"customer": "c-7"},
}

ROUTES: Final = (
    Operation(
        "POST",
        "/api/sagas",
        handlers.create_saga,
        "Begin a saga; it is durable when the reply comes.",
        {
            201: [
                Answer(
                    "The saga, which is durable.",
                    CreatedSagaView,
                    headers=_CREATED,
                    links=_ABOUT_IT,
                )
            ],
            200: [
                Answer(
                    "The saga that this Idempotency-Key began before.",
                    CreatedSagaView,
                    headers=(*_CREATED, "Idempotency-Replayed"),
                    links=_ABOUT_IT,
                )
            ],
        },
        errors=(409, 415, 422),
        parameters=_CREATE_HEADERS,
        body=Body(SagaDefinition, example=_ORDER),
    ),
    Operation(
        "GET",
        "/api/sagas",
        handlers.list_sagas,
        "List sagas, newest first.",
        {200: [Answer("A page of sagas.", SagaPageView)]},
        errors=(422,),
        parameters=_FILTERS,
    ),
    Operation(
        "POST",
        "/api/sagas/batch",
        handlers.create_sagas,
        "Begin many sagas, of which each succeeds or fails for itself.",
        {200: [Answer("What became of each, in order.", BatchView, headers=_APPLIED)]},
        errors=(415, 422),
        parameters=(
            ACTOR,
            Parameter("Prefer", "header", _TEXT, "findings: as for one saga, with each entry."),
        ),
        body=Body(
            Batch,
            others={"application/x-ndjson": _NDJSON, "application/ndjson": _NDJSON},
            example=[_ORDER],
        ),
    ),
    Operation(
        "POST",
        "/api/check",
        handlers.check_definition,
        "Check a definition: what its creation would refuse, and what a reviewer would say. Nothing is begun.",
        {200: [Answer("What there is to say, whether it is valid or not.", CheckedView)]},
        errors=(415,),
        body=Body(SagaDefinition, example=_ORDER),
    ),
    Operation(
        "GET",
        "/api/sagas/stats",
        handlers.get_stats,
        "Count sagas.",
        {200: [Answer("The counts.", StatsView)]},
    ),
    Operation(
        "GET",
        "/api/analytics",
        handlers.get_analytics,
        "Ask what sagas have in common: how they end, how long they take, which steps are slow, what fails.",
        {200: [Answer("What was found.", AnalyticsView)]},
        errors=(422,),
        parameters=(
            _FILTERS[1],
            _FILTERS[2],
            Parameter("since", "query", _TIME, "Sagas created then or later."),
            Parameter("until", "query", _TIME, "Sagas created then or earlier."),
        ),
    ),
    Operation(
        "GET",
        "/api/sagas/health",
        handlers.get_health,
        "Ask how the server is.",
        {
            200: [Answer("All is well.", HealthView)],
            503: [Answer("Some check fails.", HealthView)],
        },
        is_open=True,
    ),
    Operation(
        "GET",
        "/api/sagas/metrics",
        handlers.get_metrics,
        "Read all metrics, for Prometheus.",
        {200: [Answer("The metrics.", str, "text/plain")]},
    ),
    Operation(
        "GET",
        "/api/alerts",
        handlers.get_alerts,
        "Ask what a person should know now.",
        {200: [Answer("The alerts, the worst first.", AlertsView)]},
    ),
    *FLEET_ROUTES,
    Operation(
        "GET",
        "/api/sagas/{id}",
        handlers.get_saga,
        "Show a saga, as it is or as it was.",
        {200: [_SAGA], 304: [Answer("It is as it was.", headers=("ETag",))]},
        errors=(404,),
        parameters=(
            Parameter("If-None-Match", "header", _TEXT, "Versions that are known."),
            Parameter(
                "at",
                "query",
                {"anyOf": [_COUNT, _TIME]},
                "As it was just after the event of this seq, or at this time.",
            ),
        ),
    ),
    Operation(
        "GET",
        "/api/sagas/{id}/status",
        handlers.get_status,
        "Show a saga in short.",
        {200: [Answer("The status.", StatusView)]},
        errors=(404,),
    ),
    Operation(
        "GET",
        "/api/sagas/{id}/explain",
        handlers.explain_saga,
        "Explain a saga: what happened and why, what it waits for, what an undo and each move would do now.",
        {
            200: [
                Answer("The explanation,", ExplanationView),
                Answer("or, with Accept: text/plain, a page of text.", str, TEXT),
            ]
        },
        errors=(404,),
    ),
    Operation(
        "GET",
        "/api/sagas/{id}/events",
        handlers.get_events,
        "Read a saga's history; with Accept: text/event-stream follow it.",
        {
            200: [
                Answer("A page of events, oldest first;", EventPageView),
                Answer(
                    "or each as it becomes durable, until the saga is final.",
                    str,
                    "text/event-stream",
                ),
            ],
            204: [Answer("A stream that is over: there is nothing after Last-Event-ID.")],
        },
        errors=(404, 422),
        parameters=_EVENTS,
    ),
    *MOVE_ROUTES,
    Operation(
        "GET",
        "/api/services",
        handlers.get_services,
        "Show what each service is asked, what waits for it, and why.",
        {200: [Answer("The services, by name.", ServicesView)]},
    ),
    Operation(
        "GET",
        "/api/whoami",
        handlers.who_am_i,
        "Ask who you are here, and what you may do.",
        {200: [Answer("Whose key it is.", WhoView)]},
    ),
    Operation(
        "GET",
        "/openapi.json",
        handlers.get_openapi,
        "Read this document.",
        {200: [Answer("The document.", dict)]},
    ),
)
