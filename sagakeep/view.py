"""Views: a saga's state and history as people are shown them. Pure: no clock, no I/O.

What a step calls `sensitive` is redacted in all that comes out of here: the payloads as defined, the
payloads as filled in for a call, and the results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, cast

from sagakeep import events as e
from sagakeep.alert import Alert
from sagakeep.definition import SagaDefinition, Step
from sagakeep.feed import FeedEvent
from sagakeep.published import (
    AlertView,
    EventView,
    FeedEventView,
    PauseView,
    RemainsView,
    RetryView,
    SagaDefinitionView,
    SagaView,
    StatsView,
    StatusView,
    StepDefinitionView,
    StepView,
)
from sagakeep.redaction import redact
from sagakeep.remains import Remains, remaining
from sagakeep.saga_status import ABANDONED
from sagakeep.standing import (
    action_was_given_up,
    current_call,
    current_step,
    next_attempt_at_utc_s,
    waiting_for,
)
from sagakeep.state import (
    HELD,
    UNTOUCHED_BY_HAND,
    CallState,
    Pause,
    SagaState,
    SagaStatus,
    StepState,
    StepStatus,
)

_EPOCH: Final = datetime(1970, 1, 1)  # UTC, as all times are


def saga_view(state: SagaState) -> SagaView:
    """Show the saga whole: what was defined, and how it stands."""
    definition = state.definition
    return {
        "id": state.id,
        "name": definition.name,
        "status": state.status,
        "currentStep": current_step(state),
        "completedSteps": list(state.completed),
        "failedSteps": [step_id for step_id, step in state.steps.items() if _has_failed(step)],
        "retryCount": state.retry_count,
        "maxRetries": definition.retries_max,
        "timeout": definition.timeout_s,
        "onFailure": definition.on_failure,
        "tags": definition.tags,
        "reason": state.reason,
        "error": state.error or _error_of_failure(state),
        "createdAt": time_view(state.created_at_utc_s),
        "updatedAt": time_view(state.updated_at_utc_s),
        "deadline": _time_or_none(state.deadline_utc_s),
        "paused": _pause_view(state.paused),
        "rerunOf": state.rerun_of,
        "rerunAs": state.rerun_as,
        "remains": remains_view(remaining(state)) if state.status is ABANDONED else [],
        "steps": [_step_view(step, state.steps[step.id]) for step in definition.steps],
    }


def _pause_view(pause: Pause | None) -> PauseView | None:
    if pause is None:
        return None
    return {"since": time_view(pause.since_utc_s), "by": pause.by, "reason": pause.note}


def remains_view(remains: Iterable[Remains]) -> list[RemainsView]:
    """Show what is left as it is."""
    return [{"stepID": one.step_id, "why": one.why} for one in remains]


def alert_view(alert: Alert) -> AlertView:
    """Show an alert."""
    trouble = alert.trouble
    return {
        "rule": trouble.rule,
        "severity": trouble.severity,
        "subject": trouble.subject,
        "summary": trouble.summary,
        "advice": trouble.advice,
        "since": time_view(alert.since_utc_s),
        "count": trouble.count,
        "sagas": list(trouble.sagas),
    }


def etag_of(state: SagaState) -> str:
    """The entity tag of the saga's view: it changes with every event and with nothing else."""
    return f'"{state.sequence}"'


def time_view(at_utc_s: float) -> str:
    """Write a time as RFC 3339, to the nearest microsecond."""
    moment = _EPOCH + timedelta(microseconds=round(at_utc_s * 1e6))
    return moment.isoformat(timespec="microseconds") + "Z"


def _time_or_none(at_utc_s: float | None) -> str | None:
    return time_view(at_utc_s) if at_utc_s else None


def _error_of_failure(state: SagaState) -> str:
    """Why the saga turned around, when a step's failure is why."""
    if state.reason != "failure":
        return ""
    errors = (
        f"step {step_id!r} failed: {step.action.error}"
        for step_id, step in state.steps.items()
        if action_was_given_up(step)
    )
    return next(errors, "")


def _has_failed(step: StepState) -> bool:
    return step.status is StepStatus.COMPENSATION_FAILED or action_was_given_up(step)


def status_view(state: SagaState) -> StatusView:
    """Show the saga in short: where it stands and what it waits for."""
    return {
        "id": state.id,
        "status": state.status,
        "currentStep": current_step(state),
        "progress": {"done": len(state.completed), "total": len(state.steps)},
        "nextAttemptAt": _time_or_none(next_attempt_at_utc_s(state)),
        "waitingFor": waiting_for(state),
    }


# Steps


def _step_view(spec: Step, step: StepState) -> StepView:
    call = current_call(step)
    by_hand = step.by_hand or UNTOUCHED_BY_HAND
    shown = _step_definition_view(spec)
    if by_hand.payload:
        shown["payload"] = redact(by_hand.payload[0], spec.sensitive)
    if by_hand.undo_payload:
        shown["compensationPayload"] = redact(by_hand.undo_payload[0], spec.sensitive)
    return {
        **shown,
        "status": step.status,
        "retryCount": max(0, call.attempt - 1),
        "result": redact(step.result, spec.sensitive),
        "error": call.error or step.action.error,
        "errorCode": _error_code(call if call.error else step.action),
        "outcome": step.action.outcome,
        "nextAttemptAt": _time_or_none(call.retry_at_utc_s),
        "isSkipped": by_hand.skipped,
        "isEdited": bool(by_hand.payload or by_hand.undo_payload),
        "attempts": step.action.attempt,
        "startedAt": _time_or_none(step.action.started_at_utc_s),
        "endedAt": _time_or_none(step.action.ended_at_utc_s),
    }


def _error_code(call: CallState) -> str:
    return call.rule if call.error else ""


def _step_definition_view(spec: Step) -> StepDefinitionView:
    retry: RetryView = {
        "initialInterval": spec.retry.initial_interval_s,
        "multiplier": spec.retry.multiplier,
        "maxInterval": spec.retry.interval_s_max,
        "maxElapsed": spec.retry.elapsed_s_max,
    }
    return {
        "id": spec.id,
        "service": spec.service,
        "action": spec.action,
        "compensation": spec.compensation,
        "payload": redact(spec.payload, spec.sensitive),
        "maxRetries": spec.retries_max,
        "timeout": spec.timeout_s,
        "compensationMaxRetries": spec.compensation_retries_max,
        "compensationPayload": redact(spec.compensation_payload, spec.sensitive),
        "dependsOn": list(spec.depends_on),
        "kind": spec.kind,
        "inDoubt": spec.in_doubt,
        "probe": spec.probe,
        "retry": retry,
        "sensitive": list(spec.sensitive),
    }


def _definition_view(saga_id: str, definition: SagaDefinition) -> SagaDefinitionView:
    return {
        "id": saga_id,
        "name": definition.name,
        "steps": [_step_definition_view(step) for step in definition.steps],
        "timeout": definition.timeout_s,
        "maxRetries": definition.retries_max,
        "onFailure": definition.on_failure,
        "tags": definition.tags,
    }


# History


def event_views(record: e.Record, definition: SagaDefinition) -> list[EventView]:
    """Show the events of a record, in order."""
    sensitive = {step.id: step.sensitive for step in definition.steps}
    timestamp = time_view(record.at_utc_s)
    return [
        _event_view(record.saga_id, record.sequence + at, event, timestamp, sensitive)
        for at, event in enumerate(record.events)
    ]


def _event_view(
    saga_id: str,
    sequence: int,
    event: e.AnyEvent,
    timestamp: str,
    sensitive: Mapping[str, tuple[str, ...]],
) -> EventView:
    name, status = e.EVENT_NAMES[type(event)]
    step_id: str = getattr(event, "step_id", "")
    return {
        "id": f"{saga_id}/{sequence}",
        "sagaID": saga_id,
        "stepID": step_id,
        "type": name,
        "status": cast("Literal['success', 'retry', 'error', 'info']", status),
        "payload": _payload_view(saga_id, event, sensitive.get(step_id, ())),
        "timestamp": timestamp,
        "error": getattr(event, "error", ""),
        "seq": sequence,
    }


def feed_event_view(event: FeedEvent) -> FeedEventView:
    """Show an event of the feed of all sagas."""
    return {
        "sagaID": event.saga_id,
        "name": event.name,
        "seq": event.sequence,
        "type": event.kind,
        "stepID": event.step_id,
        "sagaStatus": event.status,
        "timestamp": _time_of_record(event.at_utc_s),
    }


_time_of_record: Final = lru_cache(maxsize=16)(time_view)  # its events come one after the other


_SAID_OUTSIDE: Final = frozenset({"step_id", "error", "body_digest", "filler"})
_RENAMED: Final = {
    "idempotency_key": "idempotencyKey",
    "down_to": "downTo",
    "rerun_of": "rerunOf",
    "rerun_as": "rerunAs",
}


def _payload_view(saga_id: str, event: e.AnyEvent, sensitive: tuple[str, ...]) -> dict[str, object]:
    """Show the fields that only this kind of event has; what is empty and optional is left out."""
    payload: dict[str, object] = {}
    for field in event.__struct_fields__:
        value: object = getattr(event, field)
        match field, value:
            case ("definition", SagaDefinition()):
                payload["definition"] = _definition_view(saga_id, value)
            case ("filled", (filled,)):
                payload["payload"] = redact(filled, sensitive)
            case ("result" | "payload", _):
                payload[field] = redact(value, sensitive)
            case ("latency_s", _):
                payload["latency"] = value
            case ("retry_at_utc_s", float()):
                payload["nextAttemptAt"] = _time_or_none(value)
            case ("deadline_utc_s", float()):
                payload["deadline"] = time_view(value)
            case (_, "" | ()):
                pass
            case _ if field not in _SAID_OUTSIDE:
                payload[_RENAMED.get(field, field)] = value
    return payload


# Statistics


def stats_view(
    by_status: Mapping[SagaStatus, int], completed_count: int, completed_seconds: float
) -> StatsView:
    """Show how all sagas fare. The durations are those of every saga that ever completed."""
    counts = {status: by_status.get(status, 0) for status in SagaStatus}
    completed = counts[SagaStatus.COMPLETED]
    compensated = counts[SagaStatus.COMPENSATED]
    abandoned = counts[SagaStatus.ABANDONED]
    finished = completed + compensated + abandoned
    return {
        "totalSagas": sum(counts.values()),
        "runningSagas": sum(counts.values()) - finished,
        "completedSagas": completed,
        "failedSagas": compensated + abandoned + sum(counts[status] for status in HELD),
        "compensatedSagas": compensated,
        "successRate": completed / finished if finished else 1.0,
        "averageDuration": completed_seconds / completed_count if completed_count else 0.0,
        "byStatus": counts,
    }
