"""Moves: what an operator may wish of a saga in its state, and what each would do.

Which are allowed, and what comes of them, is asked of the machine itself: each wish is decided on the frozen
state, and nothing is kept of it but the answer. A verb that is added to the machine is added to MOVES, with
all that a client needs to make the move without knowing it before: its route and its fields.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from sagakeep import limits
from sagakeep import messages as m
from sagakeep import move_requests as requests
from sagakeep.effects import RunCall, call_of, outstanding, payload_of
from sagakeep.errors import MoveRefused
from sagakeep.events import Resolution
from sagakeep.hurry import may_hurry
from sagakeep.machine import Decision, decide
from sagakeep.remains import Remains, remaining
from sagakeep.service import Call
from sagakeep.standing import current_step
from sagakeep.state import SagaState, SagaStatus
from sagakeep.steering import editable, resolutions, skippable

FieldPlace = Literal["body", "query"]
FieldType = Literal["string", "boolean", "any"]


class Field(NamedTuple):
    """What a client may say with a move: where it goes, its type in JSON, and what it means. `chars_max` is 0
    where nothing but its pattern bounds it; `is_step` says that it names a step of the saga, `choices` are all
    values that it may have."""

    name: str
    meaning: str
    place: FieldPlace = "body"
    type: FieldType = "string"
    is_required: bool = False
    is_step: bool = False
    chars_max: int = 0
    choices: tuple[str, ...] = ()


class Wish(NamedTuple):
    """One way to make a move: the message, the body of its request, what the command line says after the id."""

    message: m.Message
    body: dict[str, object] = {}  # noqa: RUF012 - nobody changes it
    words: str = ""


class MoveKind(NamedTuple):
    """A verb: its name in the machine and on the command line, its route, the ways to make it in a state (the
    first says why not when none is allowed), its fields, the type of its body, and what comes of it where that is
    more than the state tells."""

    name: str
    method: str
    path: str
    wishes: Callable[[SagaState], Sequence[Wish]]
    fields: tuple[Field, ...]
    request: type[requests.MoveRequest]
    says: str = ""


def _retry_wishes(state: SagaState) -> list[Wish]:
    """A saga that tries again by itself can only be hurried."""
    if may_hurry(state):
        return [Wish(m.Retry(now=True), {"now": True}, "--now")]
    return [Wish(m.Retry())]


def _resolve_wishes(state: SagaState) -> list[Wish]:
    none: tuple[str, Resolution] = (current_step(state) or next(iter(state.steps)), "done")
    return [
        Wish(
            m.Resolve(step_id, resolution),
            {"stepID": step_id, "as": resolution},
            f"{step_id} --as {resolution}",
        )
        for step_id, resolution in resolutions(state) or [none]
    ]


def _skip_wishes(state: SagaState) -> list[Wish]:
    step_id = _stuck_of(state, skippable(state))
    return [Wish(m.Skip(step_id), {"stepID": step_id}, step_id)]


def _edit_wishes(state: SagaState) -> list[Wish]:
    phases = dict(editable(state))
    step_id = _stuck_of(state, phases)
    payload = payload_of(state, step_id, phases.get(step_id, "action"))
    body = {"stepID": step_id, "payload": payload}
    return [Wish(m.Edit(step_id, payload), body, f"{step_id} --payload JSON")]


def _stuck_of(state: SagaState, step_ids: Collection[str]) -> str:
    """Where the saga stands, if that is one of these; else the first of them, or any step to ask about."""
    current = current_step(state)
    return (
        current if current in step_ids else next(iter(step_ids), current or next(iter(state.steps)))
    )


_REASON: Final = Field(
    "reason", "Why; it is kept in the saga's history.", chars_max=limits.REASON_CHARS_MAX
)
_SCOPE: Final = Field(
    "stepID", "Undo only this step and those that depend on it; without it all.", is_step=True
)
_DOWN_TO: Final = Field(
    "downTo",
    "Undo only what depends on this step, and then stand still; not beside stepID.",
    is_step=True,
)
_PLAN_ID: Final = Field("planId", "Only if nothing has happened since this plan was made.")
_PLAN: Final = Field(
    "plan", "Only say what it would call, and give the plan an id.", place="query", type="boolean"
)
_NOW: Final = Field(
    "now", "Make what is planned for later at once, where it tries again by itself.", type="boolean"
)
_STEP: Final = Field("stepID", "The step.", is_required=True, is_step=True)
_RESOLUTION: Final = Field(
    "as", "What became of it.", is_required=True, choices=get_args(Resolution)
)
_RESULT: Final = Field("result", "What it gave, if it is done; any JSON.", type="any")
_PAYLOAD: Final = Field("payload", "What it is sent; any JSON.", type="any", is_required=True)


def _kind(
    name: str,
    request: type[requests.MoveRequest],
    *fields: Field,
    wishes: Callable[[SagaState], Sequence[Wish]] | None = None,
    method: str = "PUT",
    path: str = "",
    says: str = "",
) -> MoveKind:
    """A verb at the route of its name; one that has no fields but the reason is made in one way."""
    way = wishes or (lambda _state: (Wish(request().wish("")),))
    path = path or f"/api/sagas/{{id}}/{name}"
    return MoveKind(name, method, path, way, (*fields, _REASON), request, says)


_DELETE: Final = _kind("delete", requests.DeleteRequest, method="DELETE", path="/api/sagas/{id}")
MOVES: Final = (
    _kind("compensate", requests.CompensateRequest, _SCOPE, _DOWN_TO, _PLAN_ID, _PLAN),
    _kind("retry", requests.RetryRequest, _NOW, wishes=_retry_wishes, method="POST"),
    _kind(
        "resolve",
        requests.ResolveRequest,
        *(_STEP, _RESOLUTION, _RESULT),
        wishes=_resolve_wishes,
    ),
    _kind("skip", requests.SkipRequest, _STEP, _RESULT, wishes=_skip_wishes),
    _kind("edit", requests.EditRequest, _STEP, _PAYLOAD, wishes=_edit_wishes),
    _kind("pause", requests.PauseRequest, says="begins nothing new; what is in flight may end"),
    _kind("resume", requests.ResumeRequest),
    _kind("finish", requests.FinishRequest, says="calls nothing and undoes nothing"),
    _kind(
        "rerun",
        requests.RerunRequest,
        says="begins a new saga of the same definition; each names the other, this one stays",
    ),
    _DELETE._replace(fields=(_REASON._replace(place="query"),)),
)


class Move(msgspec.Struct, frozen=True):
    """One move in this state. `refusal` says why it may not be, "" when it may; then the rest is what comes of it
    at once: the status, the calls that begin, the steps whose attempts in flight are waited for, and what it
    leaves behind for good."""

    kind: MoveKind
    wish: Wish
    refusal: str = ""
    status: SagaStatus | None = None
    is_gone: bool = False
    begins: tuple[Call, ...] = ()
    settles_first: tuple[str, ...] = ()
    leaves: tuple[Remains, ...] = ()


def moves_of(state: SagaState, now_utc_s: float) -> list[Move]:
    """Every move, those first that may be made."""
    moves = [_move(state, kind, wish, now_utc_s) for kind in MOVES for wish in kind.wishes(state)]
    return sorted(moves, key=lambda move: bool(move.refusal))


def _move(state: SagaState, kind: MoveKind, wish: Wish, now_utc_s: float) -> Move:
    try:
        decision = decide(state, wish.message, now_utc_s)
    except MoveRefused as refused:
        return Move(kind, wish, refused.why)
    if decision.events == decide(state, m.Wake(), now_utc_s).events:
        return Move(kind, wish, f"it is {state.status}: it would change nothing")
    return _effect(state, kind, wish, decision)


def _effect(state: SagaState, kind: MoveKind, wish: Wish, decision: Decision) -> Move:
    after = decision.state
    before = set(outstanding(state))
    calls = [effect for effect in outstanding(after) if isinstance(effect, RunCall)]
    return Move(
        kind,
        wish,
        status=after.status,
        is_gone=after.deleted,
        begins=tuple(call_of(after, effect) for effect in calls if effect not in before),
        settles_first=tuple(
            dict.fromkeys(
                effect.step_id
                for effect in calls
                if effect in before and after.status is SagaStatus.COMPENSATING
            )
        ),
        leaves=tuple(remaining(after)) if after.status is SagaStatus.ABANDONED else (),
    )
