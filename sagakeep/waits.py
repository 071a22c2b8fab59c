"""Waits: what moves a saga next. A state says what is outstanding; the gateways say how far that has come.

A saga that is not final waits for at least one thing. The first of the list is what will move it next: a call
in flight before one that is queued, before a time, before an operator.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from sagakeep.effects import RunCall, call_of, outstanding
from sagakeep.service import Phase
from sagakeep.standing import current_step
from sagakeep.state import HELD, SagaState, StepStatus, pivot_is_done

WaitKind = Literal["call", "queue", "timer", "operator"]
WaitReason = Literal["backoff", "deadline", "paused", "service_paused", ""]


class Begun(msgspec.Struct, frozen=True):
    """How far an outstanding attempt has come: `began_utc_s` is 0 while it waits in its service's queue."""

    effect: RunCall
    service: str
    began_utc_s: float


class Queue(msgspec.Struct, frozen=True):
    """How a service's gateway is. `note` says why it holds calls back, "" when only their number does."""

    in_flight: int
    queued: int
    concurrency_max: int
    note: str = ""
    is_paused: bool = False


class LiveFacts(msgspec.Struct, frozen=True):
    """What only the running process knows of a saga; empty for one that is final."""

    attempts: tuple[Begun, ...] = ()
    queues: Mapping[str, Queue] = {}


NO_FACTS = LiveFacts()


class Wait(msgspec.Struct, frozen=True):
    """One thing that is waited for. The fields of a call are empty for an operator and the deadline; times are 0
    where there is none: `since_utc_s` of a call in flight and of a pause, `until_utc_s` of a timer."""

    kind: WaitKind
    step_id: str = ""
    service: str = ""
    action: str = ""
    phase: Phase | None = None
    attempt: int = 0
    key: str = ""
    since_utc_s: float = 0.0
    until_utc_s: float = 0.0
    reason: WaitReason = ""
    queue: Queue | None = None


_ORDER = ("call", "queue", "timer", "operator")


def waits_of(state: SagaState, facts: LiveFacts, now_utc_s: float) -> list[Wait]:
    """List what is waited for, what will move the saga first in front; empty for a final saga."""
    if state.status in HELD:
        return [Wait("operator", current_step(state))]
    if state.paused is not None:
        since_utc_s = state.paused.since_utc_s
        hold = Wait("operator", current_step(state), since_utc_s=since_utc_s, reason="paused")
        calls = _waits_for_calls(state, facts, now_utc_s)
        return [*(call for call in calls if call.kind == "call" and call.since_utc_s), hold]
    waits = [*_waits_for_calls(state, facts, now_utc_s), *_waits_for_time(state)]
    return sorted(waits, key=lambda wait: (_ORDER.index(wait.kind), wait.until_utc_s))


def _waits_for_calls(state: SagaState, facts: LiveFacts, now_utc_s: float) -> Iterator[Wait]:
    begun = {one.effect: one.began_utc_s for one in facts.attempts}
    for effect in outstanding(state):
        if not isinstance(effect, RunCall):
            continue
        wait = _wait_of(state, "call", effect)
        if effect.not_before_utc_s > now_utc_s:
            yield replace(wait, kind="timer", reason="backoff", until_utc_s=effect.not_before_utc_s)
        elif begun.get(effect) == 0:
            queue = facts.queues.get(wait.service)
            is_paused = queue is not None and queue.is_paused
            reason: WaitReason = "service_paused" if is_paused else ""
            yield replace(wait, kind="queue", queue=queue, reason=reason)
        else:
            yield replace(wait, since_utc_s=begun.get(effect, 0.0))


def _wait_of(state: SagaState, kind: WaitKind, effect: RunCall) -> Wait:
    call = call_of(state, effect)
    key = call.idempotency_key
    return Wait(kind, call.step_id, call.service, call.action, call.phase, call.attempt, key)


def _waits_for_time(state: SagaState) -> Iterator[Wait]:
    """The attempts that are planned, and the deadline."""
    for step_id, step in state.steps.items():
        if step.status is StepStatus.RETRYING and step.action.retry_at_utc_s:
            call = step.action
            effect = RunCall(step_id, "action", call.epoch, call.attempt + 1)
        elif step.status is StepStatus.COMPENSATING and step.compensation.retry_at_utc_s:
            call = step.compensation
            effect = RunCall(step_id, "compensation", call.epoch, call.attempt + 1)
        else:
            continue
        wait = _wait_of(state, "timer", effect)
        yield replace(wait, reason="backoff", until_utc_s=call.retry_at_utc_s)
    if outstanding(state) and state.status == "running" and not pivot_is_done(state):
        yield Wait("timer", until_utc_s=state.deadline_utc_s, reason="deadline")
