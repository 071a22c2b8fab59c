"""The story of a saga: its history in plain sentences, one for each event. Pure: no clock, no I/O.

Values of payloads and results are not told: they may be secret, and they are in the events. What a service said
of an error is told as it is recorded, where secrets were replaced before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from sagakeep import events as e
from sagakeep.classification import words_of
from sagakeep.definition import SagaDefinition, Step
from sagakeep.plan import plan_of
from sagakeep.service import Outcome
from sagakeep.view import time_view

_ANSWERED: Final = "a 2xx (with JSON, if anything), or a value that a method returned, is done"
_WORDS: Final = {Outcome.DONE: "done", Outcome.NOT_DONE: "not done", Outcome.UNKNOWN: "unknown"}


class Sentence(msgspec.Struct, frozen=True):
    """One event in words. `outcome` is what a reply was taken for, None where none came; `because` says by which
    rule."""

    sequence: int
    at_utc_s: float
    text: str
    outcome: Outcome | None = None
    rule: str = ""
    because: str = ""


def story_of(records: Iterable[e.Record], definition: SagaDefinition) -> list[Sentence]:
    """Tell the records, in order."""
    return [
        _sentence(record.sequence + at, record.at_utc_s, event, definition)
        for record in records
        for at, event in enumerate(record.events)
    ]


def outcome_words(outcome: Outcome) -> str:
    return _WORDS[outcome]


def _sentence(
    sequence: int, at_utc_s: float, event: e.AnyEvent, definition: SagaDefinition
) -> Sentence:
    text = _text(event, definition)
    match event:
        case e.StepCompleted() | e.StepCompensated():
            because = _ANSWERED
            return Sentence(sequence, at_utc_s, text, Outcome.DONE, because=because)
        case (
            e.StepRetry()
            | e.StepFailed()
            | e.StepProbed()
            | e.CompensationRetry()
            | e.CompensationExhausted()
            | e.CompensationFailed()
            | e.LateReply()
        ):
            outcome, rule = event.outcome, event.rule
            return Sentence(sequence, at_utc_s, text, outcome, rule, _because(event))
        case _:
            return Sentence(sequence, at_utc_s, text)


def _because(event: e.AnyEvent) -> str:
    rule: str = getattr(event, "rule", "")
    if rule:
        return words_of(rule)
    if isinstance(event, e.LateReply | e.StepProbed) and event.outcome is not Outcome.UNKNOWN:
        return _ANSWERED
    return ""


def _text(event: e.AnyEvent, definition: SagaDefinition) -> str:
    match event:
        case (
            e.SagaCreated()
            | e.SagaStarted()
            | e.SagaCompleted()
            | e.SagaFailed()
            | e.SagaCompensating()
            | e.SagaCompensated()
            | e.SagaRetry()
            | e.ActorRestarted()
            | e.SagaDeleted()
            | e.SagaErased()
        ):
            return _text_of_saga(event)
        case (
            e.SagaPaused()
            | e.SagaResumed()
            | e.SagaAbandoned()
            | e.SagaRerun()
            | e.StepResolved()
            | e.StepSkipped()
            | e.StepEdited()
            | e.StepHurried()
        ):
            return _text_by_hand(event)
        case e.CompensationFailed(step_id=""):
            return f"The undo cannot go on: {event.error}."
        case _:
            return _text_of_step(event, plan_of(definition).steps[event.step_id])


def _text_of_saga(event: e.AnyEvent) -> str:
    match event:
        case e.SagaCreated():
            steps = len(event.definition.steps)
            count = "1 step" if steps == 1 else f"{steps} steps"
            again = f", to run saga {event.rerun_of!r} again" if event.rerun_of else ""
            name = event.definition.name
            return f"{name!r} with {count} was created{_by(event.by, '')}{again}."
        case e.SagaStarted():
            return f"It goes forward, and has time until {time_view(event.deadline_utc_s)}."
        case e.SagaCompleted():
            return "All steps are done: it is completed."
        case e.SagaFailed():
            return f"It stands still as failed: {event.error}."
        case e.SagaCompensating():
            return _turn(event)
        case e.SagaCompensated():
            return "All that was to be undone is undone: it is compensated."
        case e.SagaRetry():
            return f"It was let go on{_by(event.by, event.note)}."
        case e.ActorRestarted():
            return f"A bug of sagakeep ended its actor, which was started again: {event.error}."
        case e.SagaDeleted():
            return f"It was deleted{_by(event.by, event.note)}."
        case _:
            assert isinstance(event, e.SagaErased), "the others were told above"
            return "What stood here was erased."


def _turn(event: e.SagaCompensating) -> str:
    what = f"step {event.step_id!r} and what depends on it" if event.step_id else "what was done"
    if event.down_to:
        what = f"what depends on step {event.down_to!r}, and then to stand still"
    match event.reason:
        case "failure":
            return f"A step failed, so {what} is undone."
        case "timeout":
            return f"Its time was up, so {what} is undone."
        case _:
            return f"It was asked to undo {what}{_by(event.by, event.note)}."


def _text_by_hand(
    event: e.SagaPaused
    | e.SagaResumed
    | e.SagaAbandoned
    | e.SagaRerun
    | e.StepResolved
    | e.StepSkipped
    | e.StepEdited
    | e.StepHurried,
) -> str:
    who = _by(event.by, event.note)
    match event:
        case e.SagaPaused():
            return f"It was paused{who}: nothing new is begun, what is in flight may end."
        case e.SagaResumed():
            return f"Its pause was ended{who}."
        case e.SagaAbandoned():
            return f"It was ended by force{who}: what is not undone stays."
        case e.SagaRerun():
            return f"It was run again as saga {event.rerun_as!r}{who}."
        case e.StepResolved():
            word = event.resolution.replace("_", " ")
            return f"Step {event.step_id!r} was said to be {word}{who}."
        case e.StepSkipped():
            return f"Step {event.step_id!r} was skipped{who}: it counts as done."
        case e.StepHurried():
            return f"The next attempt of step {event.step_id!r} was let be made at once{who}."
        case _:
            what = "The undo of step" if event.phase == "compensation" else "Step"
            return f"{what} {event.step_id!r} was given another payload{who}."


def _by(by: str, note: str) -> str:
    return (f" by {by}" if by else "") + (f" ({note})" if note else "")


def _text_of_step(event: e.AnyEvent, spec: Step) -> str:
    action, undo = f"{spec.service}.{spec.action}", f"{spec.service}.{spec.compensation}"
    match event:
        case e.StepStarted():
            return f"Step {spec.id!r}: {action} is called, attempt {event.attempt}."
        case e.StepCompleted():
            took = _took(event.latency_s)
            return f"Step {spec.id!r}: attempt {event.attempt} of {action} is done{took}."
        case e.StepRetry():
            return _again(event, spec, action)
        case e.StepFailed():
            return _failed(event, spec, action)
        case e.StepProbed():
            return _probed(event, spec)
        case e.CompensationStarted():
            return f"Step {spec.id!r} is undone: {undo} is called, attempt {event.attempt}."
        case e.CompensationRetry():
            return _again(event, spec, undo)
        case e.StepCompensated():
            took = _took(event.latency_s)
            return f"Step {spec.id!r} is undone: attempt {event.attempt} of {undo} is done{took}."
        case e.CompensationExhausted():
            rest = "Other undos in flight end first"
            return f"Step {spec.id!r} could not be undone: {event.error}. {rest}."
        case e.CompensationFailed():
            rest = "It stands still as compensation_failed until somebody retries it"
            return f"Step {spec.id!r} could not be undone: {event.error}. {rest}."
        case _:
            assert isinstance(event, e.LateReply), "the others were told above"
            what = {"action": action, "compensation": undo}.get(event.phase, "the probe")
            said = f"{_WORDS[event.outcome]}{_of(event.error)}"
            late = f"attempt {event.attempt} of {what} answered too late: {said}"
            return f"Step {spec.id!r}: {late}. It changes nothing."


def _again(event: e.StepRetry | e.CompensationRetry, spec: Step, what: str) -> str:
    ended = f"attempt {event.attempt} of {what} ended {_WORDS[event.outcome]}{_of(event.error)}"
    return f"Step {spec.id!r}: {ended}. The next is at {time_view(event.retry_at_utc_s)}."


def _failed(event: e.StepFailed, spec: Step, what: str) -> str:
    known = f"{what} failed for good, {_WORDS[event.outcome]}{_of(event.error)}"
    rest = (
        f" {spec.service}.{spec.probe} will be asked whether it happened." if event.probing else ""
    )
    return f"Step {spec.id!r}: {known}.{rest}"


def _probed(event: e.StepProbed, spec: Step) -> str:
    asked = f"Step {spec.id!r}: {spec.service}.{spec.probe} was asked, attempt {event.attempt}"
    rest = ""
    if event.outcome is Outcome.UNKNOWN:
        at_utc_s = event.retry_at_utc_s
        rest = (
            f" It is asked again at {time_view(at_utc_s)}."
            if at_utc_s
            else " It is not asked again."
        )
    return f"{asked}: {_WORDS[event.outcome]}{_of(event.error)}.{rest}"


def _of(error: str) -> str:
    return f" ({error})" if error else ""


def _took(latency_s: float) -> str:
    return f", after {latency_s:.3g} s" if latency_s else ""
