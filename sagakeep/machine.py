"""The machine: what a message means for a saga. Three pure functions and one table.

    decide(state, message, now)  -> Decision(events, state)    may this happen, and which facts follow
    evolve(state, event, at)     -> state                      the fold        (sagakeep.transitions)
    outstanding(state)           -> effects                    what to do      (sagakeep.effects)

A decision has two parts. First the message's own news: an attempt ended so, an operator wishes so
(sagakeep.steering). Then
whatever follows from the new state (sagakeep.course): steps start, the saga completes, turns around, or
stands still. All events of a decision are durable together or not at all.

A wish that the status does not allow raises MoveRefused and changes nothing. News is never refused: a reply
that is not outstanding is recorded as a LateReply and changes nothing.

                          .-------------------- retry --------------------.
                          v                                               |
    created -> running --------> completed --------.                      |
                 |  ^  `--> failed --retry-> retrying -> running          |
                 |  |       | ^                    compensate (late refund)
                 |  |       v | down to a step     v                      |
                 `------> compensating <-----------'----> compensated ----'
                              ^   `--> compensation_failed
                              `---------- retry -----'

    whatever has not ended -> abandoned (an operator's force)

Pure: no trio, no clock, no random, no logging, no I/O. Chance comes in with the message (`draw`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from sagakeep import events as e
from sagakeep import messages as m
from sagakeep import saga_status, step_status
from sagakeep.backoff import next_attempt_at
from sagakeep.changes import known_after
from sagakeep.classification import NO_OUTCOME
from sagakeep.course import Events, doubt_of, follow, give_up, must_stop, settle_waiting
from sagakeep.definition import StepKind
from sagakeep.errors import SagaNotFound
from sagakeep.service import DONE, NOT_DONE, UNKNOWN, AttemptResult, Outcome
from sagakeep.state import SagaState, compensation_in_flight, pivot_is_done
from sagakeep.steering import WISHES
from sagakeep.transitions import birth, evolve


class Decision(NamedTuple):
    """The events, and the state that their fold gives."""

    events: list[e.AnyEvent]
    state: SagaState


def create(wish: m.Create, now_utc_s: float) -> Decision:
    """Begin a saga: its creation and first starts are one decision."""
    created = e.SagaCreated(
        definition=wish.definition,
        by=wish.by,
        idempotency_key=wish.idempotency_key,
        body_digest=wish.body_digest,
        traceparent=wish.traceparent,
        rerun_of=wish.rerun_of,
    )
    return _carry_on([created], birth(wish.saga_id, created, now_utc_s), now_utc_s)


def decide(state: SagaState, message: m.Message, now_utc_s: float) -> Decision:
    """Say what a message leads to.

    Raises MoveRefused or UnknownStep for a wish that may not be, SagaNotFound for one to a deleted saga.
    """
    if state.deleted:
        return _ignore(state, message)
    events: list[e.AnyEvent] = []
    for event in _REACTIONS[type(message)](state, message, now_utc_s):
        events.append(event)
        state = evolve(state, event, now_utc_s)
    return _carry_on(events, state, now_utc_s)


def _ignore(state: SagaState, message: m.Message) -> Decision:
    """A deleted saga takes no wishes, and has no use for news."""
    if isinstance(message, m.Wish):
        raise SagaNotFound(state.id)
    return Decision([], state)


def _carry_on(events: list[e.AnyEvent], state: SagaState, now_utc_s: float) -> Decision:
    while following := follow(state, now_utc_s):
        for event in following:
            events.append(event)
            state = evolve(state, event, now_utc_s)
        if type(events[-1]) in _STARTS:
            break  # what starts has to end before anything else follows
    return Decision(events, state)


_STARTS: Final = frozenset({e.StepStarted, e.CompensationStarted})


# News


def _wake(state: SagaState, news: m.Wake, now_utc_s: float) -> Events:
    return ()


def _restarted(state: SagaState, news: m.Restarted, now_utc_s: float) -> Events:
    return (e.ActorRestarted(news.error),)


def _hold(state: SagaState, news: m.Hold, now_utc_s: float) -> Events:
    """Stand still as failed or compensation_failed; what is out may have happened."""
    restarted = e.ActorRestarted(news.error)
    settled: list[e.AnyEvent] = [
        give_up(state, step_id, doubt_of(state, step_id), news.error)
        for step_id, step in state.steps.items()
        if step.status is step_status.RUNNING
    ]
    settled += settle_waiting(state)
    if state.status is saga_status.RUNNING:
        return (restarted, *settled, e.SagaFailed(news.error))
    if state.status is saga_status.COMPENSATING:
        return (restarted, *settled, *_undo_held(state, news.error))
    return (restarted,)


def _undo_held(state: SagaState, error: str) -> Events:
    """Put the undos in flight in doubt; one that waits for its next attempt is kept for the operator's retry."""
    in_flight = [name for name, step in state.steps.items() if compensation_in_flight(step)]
    if in_flight:
        first, *others = [(name, state.steps[name].compensation.attempt) for name in in_flight]
        exhausted = [e.CompensationExhausted(*other, UNKNOWN, error) for other in others]
        return (*exhausted, e.CompensationFailed(*first, UNKNOWN, error))
    for step_id, step in state.steps.items():
        if step.status is step_status.COMPENSATING:
            call = step.compensation
            return (e.CompensationFailed(step_id, call.attempt, call.outcome or UNKNOWN, error),)
    return (e.CompensationFailed("", 0, NOT_DONE, error),)


def _attempt_ended(state: SagaState, news: m.AttemptEnded, now_utc_s: float) -> Events:
    if news.late or not _is_awaited(state, news):
        result = news.result
        return (
            e.LateReply(
                news.step_id,
                news.phase,
                news.epoch,
                news.attempt,
                result.outcome,
                result.result,
                result.error,
                result.latency_s,
                result.rule,
            ),
        )
    if news.phase == "action":
        return _action_ended(state, news, now_utc_s)
    if news.phase == "compensation":
        return _compensation_ended(state, news, now_utc_s)
    return _probe_ended(state, news, now_utc_s)


def _is_awaited(state: SagaState, news: m.AttemptEnded) -> bool:
    """Is this attempt outstanding? The same question as `outstanding`, for one call."""
    step = state.steps[news.step_id]
    if state.status not in (saga_status.RUNNING, saga_status.COMPENSATING):
        return False
    if news.phase == "action":
        awaited, call = step.status is step_status.RUNNING, step.action
    elif news.phase == "compensation":
        awaited, call = compensation_in_flight(step), step.compensation
    else:
        return step.probing and (news.epoch, news.attempt) == (step.action.epoch, step.probes + 1)
    return awaited and (news.epoch, news.attempt) == (call.epoch, call.attempt)


def _action_ended(state: SagaState, news: m.AttemptEnded, now_utc_s: float) -> Events:
    result = news.result
    if result.outcome is DONE:
        return (e.StepCompleted(news.step_id, news.attempt, result.result, result.latency_s),)
    spec, call = state.step(news.step_id), state.steps[news.step_id].action
    outcome = NOT_DONE if spec.kind is StepKind.READ_ONLY else _learned(news)
    if not _is_permanent(result) and not must_stop(state, now_utc_s):
        endless = spec.kind is StepKind.RETRIABLE or pivot_is_done(state)
        at = next_attempt_at(
            spec.retry,
            attempts=call.attempt - call.attempts_base,
            retries_max=None if endless else spec.retries_max,
            first_at_utc_s=call.started_at_utc_s,
            now_utc_s=now_utc_s,
            draw=news.draw,
            retry_after_s=result.retry_after_s,
        )
        if at is not None:
            error, latency_s, rule = result.error, result.latency_s, result.rule
            return (e.StepRetry(news.step_id, news.attempt, outcome, error, at, latency_s, rule),)
    known = known_after(call, outcome)
    error, latency_s, rule = result.error, result.latency_s, result.rule
    return (give_up(state, news.step_id, known, error, latency_s, rule),)


def _learned(news: m.AttemptEnded) -> Outcome:
    """What an attempt tells of its call. When it was made again, its first making may still have happened."""
    outcome = news.result.outcome
    return UNKNOWN if news.repeated and outcome is NOT_DONE else outcome


def _is_permanent(result: AttemptResult) -> bool:
    return result.permanent and result.outcome is NOT_DONE


def _compensation_ended(state: SagaState, news: m.AttemptEnded, now_utc_s: float) -> Events:
    step_id, attempt, result = news.step_id, news.attempt, news.result
    if result.outcome is DONE:
        return (e.StepCompensated(step_id, attempt, result.result, result.latency_s),)
    spec, call = state.step(step_id), state.steps[step_id].compensation
    outcome = _learned(news)
    if not _is_permanent(result):
        at = next_attempt_at(
            replace(spec.retry, elapsed_s_max=None),  # an undo is not given up for its age
            attempts=call.attempt - call.attempts_base,
            retries_max=spec.compensation_retries_max,
            first_at_utc_s=call.started_at_utc_s,
            now_utc_s=now_utc_s,
            draw=news.draw,
            retry_after_s=result.retry_after_s,
        )
        if at is not None:
            error, latency_s, rule = result.error, result.latency_s, result.rule
            return (e.CompensationRetry(step_id, attempt, outcome, error, at, latency_s, rule),)
    known = known_after(call, outcome)
    kind = e.CompensationExhausted if _others_in_flight(state, step_id) else e.CompensationFailed
    return (kind(step_id, attempt, known, result.error, result.latency_s, result.rule),)


def _others_in_flight(state: SagaState, step_id: str) -> bool:
    return any(
        compensation_in_flight(step) for name, step in state.steps.items() if name != step_id
    )


def _probe_ended(state: SagaState, news: m.AttemptEnded, now_utc_s: float) -> Events:
    step_id, attempt = news.step_id, news.attempt
    spec, step, result = state.step(step_id), state.steps[step_id], news.result
    outcome, body, error, rule = _answer_of_probe(result)
    probed = e.StepProbed(step_id, attempt, outcome, body, error, 0.0, result.latency_s, rule)
    if outcome is DONE:
        return (probed, e.StepCompleted(step_id, step.action.attempt, body))
    if outcome is NOT_DONE or _is_permanent(result):
        return (probed,)
    at = next_attempt_at(
        replace(spec.retry, elapsed_s_max=None),
        attempts=attempt - step.probes_base,
        retries_max=spec.retries_max,
        first_at_utc_s=step.action.started_at_utc_s,
        now_utc_s=now_utc_s,
        draw=news.draw,
        retry_after_s=result.retry_after_s,
    )
    latency_s = result.latency_s
    return (e.StepProbed(step_id, attempt, outcome, None, error, at or 0.0, latency_s, rule),)


def _answer_of_probe(result: AttemptResult) -> tuple[Outcome, object, str, str]:
    """Read `{"outcome": "done"|"not_done", "result"}`; anything else says nothing. Error and rule say why."""
    if result.outcome is not DONE:
        return UNKNOWN, None, result.error, result.rule
    match result.result:
        case {"outcome": "done", **rest}:
            return DONE, rest.get("result"), "", ""
        case {"outcome": "not_done"}:
            return NOT_DONE, None, "", ""
        case _:
            return UNKNOWN, None, "the probe did not answer with an outcome", NO_OUTCOME


_REACTIONS: Final[dict[type[m.Message], Callable[[SagaState, Any, float], Events]]] = {
    m.AttemptEnded: _attempt_ended,
    m.Wake: _wake,
    **WISHES,
    m.Restarted: _restarted,
    m.Hold: _hold,
}
