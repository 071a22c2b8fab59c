"""The routes of moves: what an operator may wish of a saga, for the table of all routes."""

from __future__ import annotations

from typing import Final

from sagakeep import limits
from sagakeep.explained import PlanView
from sagakeep.http import move_handlers as handlers
from sagakeep.http.handlers import Handler
from sagakeep.http.schema import Answer, Body, Operation, Parameter
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
from sagakeep.published import SagaView

ACTOR: Final = Parameter(
    "Saga-Actor",
    "header",
    {"type": "string", "pattern": limits.ACTOR_PATTERN},
    "Who asks, kept in the history as stated; a key that is shown says it better, and stands.",
)
_IF_MATCH: Final = Parameter(
    "If-Match",
    "header",
    {"type": "string"},
    "The ETag of the saga as it was looked at: the wish is refused with 412 if it has moved since.",
)
_REASON: Final = Parameter("reason", "query", {"type": "string"}, "Kept in the saga's history.")
_PLAN: Final = Parameter(
    "plan", "query", {"type": "boolean"}, "Only say what it would call, and give the plan an id."
)
_WHO: Final = (ACTOR, _IF_MATCH)
_ERRORS: Final = (404, 409, 412, 415, 422)
_MOVED: Final = Answer("The wish is durable; the saga, now.", SagaView, headers=("ETag",))
_PLANNED: Final = Answer("What it would do, with ?plan=true.", PlanView, headers=("ETag",))
_NEW: Final = ("ETag", "Location")


def _move(
    name: str, handler: Handler, summary: str, request: type[MoveRequest], *, is_said: bool = False
) -> Operation:
    """A move at the route of its name; `is_said` if its body must be there."""
    return Operation(
        "PUT",
        f"/api/sagas/{{id}}/{name}",
        handler,
        summary,
        {202: [_MOVED]},
        errors=_ERRORS,
        parameters=_WHO,
        body=Body(request, is_required=is_said),
    )


MOVE_ROUTES: Final = (
    _move(
        "compensate",
        handlers.compensate_saga,
        "Undo a saga, or one step and those that depend on it, or down to a step; or plan that.",
        CompensateRequest,
    )._replace(answers={202: [_MOVED], 200: [_PLANNED]}, parameters=(*_WHO, _PLAN)),
    _move(
        "retry", handlers.retry_saga, "Let a saga that stands still go on.", RetryRequest
    )._replace(method="POST"),
    _move(
        "resolve",
        handlers.resolve_step,
        "Say what became of a step, where no call can tell or do it: the saga goes on.",
        ResolveRequest,
        is_said=True,
    ),
    _move(
        "skip",
        handlers.skip_step,
        "Let a step that is not done count as done; there is nothing of it to undo.",
        SkipRequest,
        is_said=True,
    ),
    _move(
        "edit",
        handlers.edit_step,
        "Call a step, or what undoes it if that is where it is stuck, with another payload.",
        EditRequest,
        is_said=True,
    ),
    _move(
        "pause",
        handlers.pause_saga,
        "Begin nothing new of a saga until it is resumed; what is in flight may end.",
        PauseRequest,
    ),
    _move("resume", handlers.resume_saga, "Let a saga go on that was paused.", ResumeRequest),
    _move(
        "finish",
        handlers.finish_saga,
        "End a saga by force: nothing more is called, and what is not undone stays.",
        FinishRequest,
    ),
    _move(
        "rerun",
        handlers.rerun_saga,
        "Run a saga that has ended again, as a new one of the same definition.",
        RerunRequest,
    )._replace(
        answers={
            201: [Answer("The new saga, which is durable.", SagaView, headers=_NEW)],
            200: [Answer("The saga that it was run again as before.", SagaView, headers=_NEW)],
        }
    ),
    Operation(
        "DELETE",
        "/api/sagas/{id}",
        handlers.delete_saga,
        "Remove a saga that stands still from every list.",
        {204: [Answer("It is gone.")]},
        errors=(404, 409, 412, 422),
        parameters=(*_WHO, _REASON),
    ),
)
