"""Moves: what an operator may wish of a saga in its state, and what each would do.

Which are allowed, and what comes of them, is asked of the machine itself: each wish is decided on the frozen
state, and nothing is kept of it but the answer. A verb that is added to the machine is added to MOVES, with
all that a client needs to make the move without knowing it before: its route and its fields.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from sagakeep import limits
from sagakeep import messages as m
from sagakeep.effects import RunCall, call_of, outstanding
from sagakeep.errors import MoveRefused
from sagakeep.events import Resolution
from sagakeep.machine import Decision, decide
from sagakeep.service import Call
from sagakeep.standing import current_step
from sagakeep.state import SagaState, SagaStatus
from sagakeep.steering import resolutions

FieldPlace = Literal["body", "query"]
FieldType = Literal["string", "any"]


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
    body: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    words: str = ""


class MoveKind(NamedTuple):
    """A verb: its name in the machine and on the command line, its route, the ways to make it in a state (the
    first says why not when none is allowed), and its fields."""

    name: str
    method: str
    path: str
    wishes: Callable[[SagaState], Sequence[Wish]]
    fields: tuple[Field, ...]


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


_REASON: Final = Field(
    "reason", "Why; it is kept in the saga's history.", chars_max=limits.REASON_CHARS_MAX
)
_SCOPE: Final = Field(
    "stepID", "Undo only this step and those that depend on it; without it all.", is_step=True
)
_STEP: Final = Field("stepID", "The step.", is_required=True, is_step=True)
_RESOLUTION: Final = Field(
    "as", "What became of it.", is_required=True, choices=get_args(Resolution)
)
_RESULT: Final = Field("result", "What it gave, if it is done; any JSON.", type="any")
MOVES: Final = (
    MoveKind(
        "compensate",
        "PUT",
        "/api/sagas/{id}/compensate",
        lambda _state: (Wish(m.Compensate()),),
        fields=(_SCOPE, _REASON),
    ),
    MoveKind(
        "retry",
        "POST",
        "/api/sagas/{id}/retry",
        lambda _state: (Wish(m.Retry()),),
        fields=(_REASON,),
    ),
    MoveKind(
        "resolve",
        "PUT",
        "/api/sagas/{id}/resolve",
        _resolve_wishes,
        fields=(_STEP, _RESOLUTION, _RESULT, _REASON),
    ),
    MoveKind(
        "delete",
        "DELETE",
        "/api/sagas/{id}",
        lambda _state: (Wish(m.Delete()),),
        fields=(_REASON._replace(place="query"),),
    ),
)


class Move(msgspec.Struct, frozen=True):
    """One move in this state. `refusal` says why it may not be, "" when it may; then the rest is what comes of it
    at once: the status, the calls that begin, and the steps whose attempts in flight are waited for."""

    kind: MoveKind
    wish: Wish
    refusal: str = ""
    status: SagaStatus | None = None
    is_gone: bool = False
    begins: tuple[Call, ...] = ()
    settles_first: tuple[str, ...] = ()


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
    )
