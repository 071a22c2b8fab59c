"""Explanations as people are shown them: a JSON object. Pure: no clock, no I/O.

What a step calls `sensitive` is redacted in the payloads.
"""

from __future__ import annotations

from sagakeep.explained import (
    CallView,
    ExplanationView,
    FieldView,
    MoveView,
    PlanView,
    SentenceView,
    UndoCallView,
    UndoView,
    WaitView,
)
from sagakeep.explanation import Explanation
from sagakeep.moves import Field, Move
from sagakeep.redaction import redact
from sagakeep.service import Call
from sagakeep.state import FINAL, SagaState
from sagakeep.story import Sentence
from sagakeep.undo_plan import UndoCall, UndoPlan
from sagakeep.view import remains_view, time_view
from sagakeep.waits import Wait


def explanation_view(explained: Explanation) -> ExplanationView:
    """Show it as JSON."""
    state = explained.state
    waits = [_wait_view(wait) for wait in explained.waits]
    return {
        "id": state.id,
        "name": state.definition.name,
        "status": state.status,
        "at": time_view(explained.at_utc_s),
        "summary": _summary(explained),
        "untold": explained.untold,
        "story": [_sentence_view(sentence) for sentence in explained.story],
        "waitsFor": waits[0] if waits else None,
        "alsoWaitsFor": waits[1:],
        "nextAttemptAt": _time_or_none(explained.next_attempt_at_utc_s),
        "undo": _undo_view(explained.undo),
        "moves": [_move_view(move, state) for move in explained.moves],
    }


def _time_or_none(at_utc_s: float) -> str | None:
    return time_view(at_utc_s) if at_utc_s else None


def _summary(explained: Explanation) -> str:
    state = explained.state
    if state.status in FINAL:
        return f"It is {state.status}: it waits for nothing."
    if not explained.waits:
        return f"It is {state.status}, and nothing is outstanding for it."
    return f"It is {state.status}, and waits for {_wait_text(explained.waits[0])}."


def _sentence_view(sentence: Sentence) -> SentenceView:
    return {
        "seq": sentence.sequence,
        "timestamp": time_view(sentence.at_utc_s),
        "text": sentence.text,
        "outcome": sentence.outcome,
        "rule": sentence.rule,
        "because": sentence.because,
    }


def _wait_view(wait: Wait) -> WaitView:
    return {
        "kind": wait.kind,
        "text": _wait_text(wait),
        "stepID": wait.step_id,
        "service": wait.service,
        "action": wait.action,
        "phase": wait.phase,
        "attempt": wait.attempt,
        "key": wait.key,
        "since": _time_or_none(wait.since_utc_s),
        "until": _time_or_none(wait.until_utc_s),
        "reason": wait.reason,
    }


def _wait_text(wait: Wait) -> str:
    call = f"{wait.service}.{wait.action} (step {wait.step_id!r}, attempt {wait.attempt})"
    match wait.kind:
        case "call":
            since = f", in flight since {time_view(wait.since_utc_s)}" if wait.since_utc_s else ""
            return f"the reply of {call}{since}"
        case "queue" if wait.reason == "service_paused":
            return f"service {wait.service!r} to be resumed, to call {call}{_crowd(wait)}"
        case "queue":
            return (
                f"its turn in the queue of service {wait.service!r}, to call {call}{_crowd(wait)}"
            )
        case "timer" if wait.reason == "deadline":
            return f"its deadline, {time_view(wait.until_utc_s)}"
        case "timer":
            return f"the next attempt of {call}, at {time_view(wait.until_utc_s)}"
        case _:
            where = f", at step {wait.step_id!r}" if wait.step_id else ""
            if wait.reason == "paused":
                where = f" to resume it, which is paused since {time_view(wait.since_utc_s)}{where}"
            return f"an operator{where}"


def _crowd(wait: Wait) -> str:
    queue = wait.queue
    if queue is None:
        return ""
    numbers = f"{queue.in_flight} of {queue.concurrency_max} in flight, {queue.queued} wait"
    return f": {queue.note}; {numbers}" if queue.note else f": {numbers}"


def _call_view(call: Call) -> CallView:
    return {
        "stepID": call.step_id,
        "service": call.service,
        "action": call.action,
        "phase": call.phase,
        "attempt": call.attempt,
        "key": call.idempotency_key,
        "payload": redact(call.payload, call.sensitive),
    }


def _undo_view(undo: UndoPlan) -> UndoView:
    return {
        "move": undo.wish,
        "refusal": undo.refusal,
        "settlesFirst": list(undo.settles_first),
        "unlessDone": undo.unless_done,
        "calls": [_undo_call_view(call) for call in undo.calls],
        "remains": remains_view(undo.remains),
        "stopsAt": undo.stops_at,
        "endsAs": undo.ends,
    }


def plan_view(undo: UndoPlan, plan_id: str) -> PlanView:
    """Show what one wish to undo would do."""
    return {**_undo_view(undo), "planId": plan_id}


def _undo_call_view(planned: UndoCall) -> UndoCallView:
    view = _call_view(planned.call)
    return {
        **view,
        "payload": view["payload"] if planned.is_payload_known else None,
        "stage": planned.stage,
        "onlyIfHappened": planned.only_if_happened,
        "payloadKnown": planned.is_payload_known,
    }


def _move_view(move: Move, state: SagaState) -> MoveView:
    return {
        "move": move.kind.name,
        "isLegal": not move.refusal,
        "refusal": move.refusal,
        "method": move.kind.method,
        "path": move.kind.path.format(id=state.id),
        "fields": [_field_view(field, state) for field in move.kind.fields],
        "body": _body_view(move.wish.body, state),
        "command": " ".join(filter(None, ("sagakeep", move.kind.name, state.id, move.wish.words))),
        "text": _move_text(move),
        "becomes": move.status,
        "begins": [_call_view(call) for call in move.begins],
        "settlesFirst": list(move.settles_first),
        "leaves": remains_view(move.leaves),
    }


def _body_view(body: dict[str, object], state: SagaState) -> dict[str, object]:
    if "payload" not in body:
        return body
    sensitive = state.step(str(body["stepID"])).sensitive
    return {**body, "payload": redact(body["payload"], sensitive)}


def _field_view(field: Field, state: SagaState) -> FieldView:
    return {
        "name": field.name,
        "place": field.place,
        "type": field.type,
        "isRequired": field.is_required,
        "meaning": field.meaning,
        "choices": list(state.steps if field.is_step else field.choices),
        "maxLength": field.chars_max or None,
    }


def _move_text(move: Move) -> str:
    if move.refusal:
        return f"not now: {move.refusal}"
    if move.is_gone:
        return "is gone from every list; its id is not used again, its services are not called"
    words = [move.kind.says] if move.kind.says else []
    if move.kind.name != "rerun":
        words.append(f"is {move.status} then")
    if move.settles_first:
        words.append(f"attempts in flight end first ({', '.join(move.settles_first)})")
    if move.leaves:
        words.append(f"leaves {', '.join(one.step_id for one in move.leaves)} as it is")
    if move.begins:
        words.append(f"calls {', '.join(f'{one.service}.{one.action}' for one in move.begins)}")
    return "; ".join(words)
