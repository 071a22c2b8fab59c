"""Rules about the way back: what has no undo, an undo that is none, and where nobody can go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sagakeep import limits
from sagakeep.definition import StepKind
from sagakeep.findings.finding import Code, Finding, finding
from sagakeep.findings.rules.subject import Rule, Subject, names


def no_compensation(subject: Subject) -> Iterator[Finding]:
    """A step before the pivot has an effect, and nothing that undoes it."""
    for step in subject.definition.steps:
        if not step.compensation and subject.may_be_undone(step):
            later = subject.can_still_fail(step)
            when = f"{names(later, 'or')} fails" if later else "it is in doubt, or the time is up,"
            yield finding(
                Code.NO_COMPENSATION,
                subject.pointer(step),
                f'step "{step.id}" has no compensation: when {when} its effect stays',
                "name the compensation that undoes it; or say kind: readOnly when it has no effect, "
                "or kind: pivot when nothing may be undone after it",
            )


def irreversible_not_last(subject: Subject) -> Iterator[Finding]:
    """What cannot be undone is followed by what can fail."""
    for step in subject.definition.steps:
        is_pivot = step.kind is StepKind.PIVOT
        if not is_pivot and (step.compensation or not subject.may_be_undone(step)):
            continue
        later = subject.can_still_fail(step)
        if later:
            where = "beside it" if is_pivot else "after or beside it"
            why = "is the pivot" if is_pivot else "cannot be undone"
            yield finding(
                Code.IRREVERSIBLE_NOT_LAST,
                subject.pointer(step),
                f'step "{step.id}" {why}, but {names(later)} {where} can still fail',
                f'let "{step.id}" depend on what can fail, so that it comes last'
                + ("; or make those retriable and depend on it" if is_pivot else ""),
            )


def undo_is_action(subject: Subject) -> Iterator[Finding]:
    """The undo would do it again."""
    for step in subject.definition.steps:
        if step.compensation == step.action:
            yield finding(
                Code.UNDO_IS_ACTION,
                subject.pointer(step, "compensation"),
                f'step "{step.id}" is undone by "{step.compensation}", its own action: that does it again',
                "name the operation of the service that takes the effect back",
            )


def undo_without_retries(subject: Subject) -> Iterator[Finding]:
    """One lost reply of an undo stops the saga."""
    for step in subject.definition.steps:
        if step.compensation and step.compensation_retries_max == 0:
            yield finding(
                Code.UNDO_WITHOUT_RETRIES,
                subject.pointer(step, "compensationMaxRetries"),
                f'the compensation of step "{step.id}" is tried once: if that fails, for whatever reason, '
                "the saga is compensation_failed and waits for a person",
                f"leave it out (it is {limits.COMPENSATION_RETRIES} then), or give it a few",
            )


def undo_unused(subject: Subject) -> Iterator[Finding]:
    """Something is said about an undo that is never made."""
    for step in subject.definition.steps:
        if step.compensation and step.id in subject.after_pivot:
            yield finding(
                Code.UNDO_UNUSED,
                subject.pointer(step, "compensation"),
                f'step "{step.id}" comes after the pivot, from where nothing is undone: its compensation is '
                "never called",
                "leave it out, or put the step before the pivot",
            )
        if step.compensation:
            continue
        told = {
            "compensationPayload": step.compensation_payload is not None,
            "compensationMaxRetries": step.compensation_retries_max != limits.COMPENSATION_RETRIES,
        }
        for name in [name for name, is_told in told.items() if is_told]:
            yield finding(
                Code.UNDO_UNUSED,
                subject.pointer(step, name),
                f'step "{step.id}" has a {name}, but no compensation that it could be for',
                f"name the compensation, or leave {name} out",
            )


def no_way_out(subject: Subject) -> Iterator[Finding]:
    """A compensation that failed goes on by a retry only, and there may be none."""
    undone = [
        step
        for step in subject.definition.steps
        if step.compensation and step.id not in subject.after_pivot
    ]
    if undone and subject.definition.retries_max == 0:
        yield finding(
            Code.NO_WAY_OUT,
            "/maxRetries",
            f"when the compensation of {names(undone)} fails for good, or a doubt is held, the saga is "
            "compensation_failed; only a retry leads out of that, and maxRetries: 0 allows none",
            "allow at least 1; it counts what operators ask for, not attempts",
        )


RULES: Final[tuple[Rule, ...]] = (
    no_compensation,
    irreversible_not_last,
    undo_is_action,
    undo_without_retries,
    undo_unused,
    no_way_out,
)
