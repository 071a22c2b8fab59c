"""The types of an explanation as it is shown, as in `sagakeep.published`: dicts at run time."""

from __future__ import annotations

from typing import TypedDict

from sagakeep.moves import FieldPlace, FieldType
from sagakeep.published import RemainsView, Shown, Time
from sagakeep.service import Outcome, Phase
from sagakeep.state import SagaStatus
from sagakeep.waits import WaitKind, WaitReason


class SentenceView(TypedDict):
    """One event in words; `outcome` is what a reply was taken for, `because` the rule in words."""

    seq: int
    timestamp: Time
    text: str
    outcome: Outcome | None
    rule: str
    because: str


class WaitView(TypedDict):
    """One thing that is waited for: a `call` in flight `since`, a `queue` of a service, a `timer` `until`, or an
    `operator`. `reason` is `backoff` or `deadline` of a timer, `service_paused` of a queue that stands, `paused`
    of an operator who paused the saga."""

    kind: WaitKind
    text: str
    stepID: str
    service: str
    action: str
    phase: Phase | None
    attempt: int
    key: str
    since: Time | None
    until: Time | None
    reason: WaitReason


class CallView(TypedDict):
    """A call as its service will see it."""

    stepID: str
    service: str
    action: str
    phase: Phase
    attempt: int
    key: str
    payload: Shown


class UndoCallView(CallView):
    """A call of an undo. Calls of one `stage` may be made at the same time. `onlyIfHappened`: its action is in
    flight. `payloadKnown` is false where the payload refers to results that are not there yet."""

    stage: int
    onlyIfHappened: bool
    payloadKnown: bool


class UndoView(TypedDict):
    """What an undo would do now. `move` begins it, "" when it is under way, over, or refused (`refusal`).
    `unlessDone` is a pivot in flight: if it is done, nothing is undone. `endsAs` is how the saga is then, null
    when nothing is undone."""

    move: str
    refusal: str
    settlesFirst: list[str]
    unlessDone: str
    calls: list[UndoCallView]
    remains: list[RemainsView]
    stopsAt: str
    endsAs: SagaStatus | None


class PlanView(UndoView):
    """What one wish to undo would do. It is made as it was planned if it is sent with this `planId`, and refused
    if the saga has moved since."""

    planId: str


class FieldView(TypedDict):
    """What may be said with a move, in the JSON `body` or in the `query`. `choices` are all values that it may
    have, empty when it is free text; `maxLength` is null when nothing else bounds it."""

    name: str
    place: FieldPlace
    type: FieldType
    isRequired: bool
    meaning: str
    choices: list[str]
    maxLength: int | None


class MoveView(TypedDict):
    """One move of an operator, `isLegal` or not (`refusal`), how it is made, and what comes of it at once. `body`
    is what its request must say at least; `command` makes it on the command line; `leaves` is what stays behind
    for good."""

    move: str
    isLegal: bool
    refusal: str
    method: str
    path: str
    fields: list[FieldView]
    body: dict[str, Shown]
    command: str
    text: str
    becomes: SagaStatus | None
    begins: list[CallView]
    settlesFirst: list[str]
    leaves: list[RemainsView]


class ExplanationView(TypedDict):
    """What happened to a saga, why, what it waits for, and what can be done now. `waitsFor` is what will move it
    next, null when it has ended; `untold` counts the events before the story begins."""

    id: str
    name: str
    status: SagaStatus
    at: Time
    summary: str
    untold: int
    story: list[SentenceView]
    waitsFor: WaitView | None
    alsoWaitsFor: list[WaitView]
    nextAttemptAt: Time | None
    undo: UndoView
    moves: list[MoveView]
