"""Rules about time: deadlines that cannot be met, retries that are never made or never end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sagakeep import limits
from sagakeep.definition import OnFailure, StepKind
from sagakeep.findings.finding import Code, Finding, finding
from sagakeep.findings.rules.subject import Rule, Subject
from sagakeep.findings.worst_case import critical_path, in_words, worst_case_of


def deadline_too_short(subject: Subject) -> Iterator[Finding]:
    """The saga's time is up before its steps have had theirs."""
    definition = subject.definition
    path = critical_path(definition, lambda step: step.timeout_s)
    if path.seconds > definition.timeout_s:
        one = len(path.steps) == 1
        yield finding(
            Code.DEADLINE_TOO_SHORT,
            "/timeout",
            f"the saga's timeout is {in_words(definition.timeout_s)}, but one attempt of "
            f"{'' if one else 'each of '}{' -> '.join(path.steps)} may take {in_words(path.seconds)}: slow "
            "services alone turn the saga around",
            f"allow at least {in_words(path.seconds)} and some for retries, or shorten the steps' timeouts",
        )


def held_by_deadline(subject: Subject) -> Iterator[Finding]:
    """A saga that is merely slow becomes the work of an operator."""
    definition = subject.definition
    worst = worst_case_of(definition).forward_s
    if definition.on_failure is OnFailure.HOLD and worst > definition.timeout_s:
        yield finding(
            Code.HELD_BY_DEADLINE,
            "/onFailure",
            f"with onFailure: hold the saga is failed when its {in_words(definition.timeout_s)} are up, "
            f"nothing undone; its retries alone may take {in_words(worst)}",
            f"raise timeout to {in_words(worst)}, or shorten the retries",
        )


def retriable_before_pivot(subject: Subject) -> Iterator[Finding]:
    """What is repeated without end stands where the saga's deadline ends it."""
    for step in subject.definition.steps:
        if step.kind is StepKind.RETRIABLE and step.id not in subject.after_pivot:
            pivot = f'the pivot "{subject.pivot.id}"' if subject.pivot else "any pivot"
            yield finding(
                Code.RETRIABLE_BEFORE_PIVOT,
                subject.pointer(step, "kind"),
                f'step "{step.id}" is retriable, but does not come after {pivot}: it is repeated until the '
                "saga's timeout, and then undone",
                "let it depend on the pivot, or make it compensatable",
            )


def retriable_with_end(subject: Subject) -> Iterator[Finding]:
    """An end is given to what has none."""
    for step in subject.definition.steps:
        if step.kind is not StepKind.RETRIABLE:
            continue
        told = {
            ("maxRetries",): step.retries_max != limits.RETRIES,
            ("retry", "maxElapsed"): step.retry.elapsed_s_max is not None,
        }
        for members in [members for members, is_told in told.items() if is_told]:
            yield finding(
                Code.RETRIABLE_WITH_END,
                subject.pointer(step, *members),
                f'{members[-1]} of step "{step.id}" has no effect: a retriable step is repeated until it is '
                "done",
                "leave it out; a step that may fail belongs before the pivot",
            )


def elapsed_too_short(subject: Subject) -> Iterator[Finding]:
    """The retries are over before the first attempt is."""
    for step in subject.definition.steps:
        elapsed_s = step.retry.elapsed_s_max
        if elapsed_s is None or not step.retries_max or step.kind is StepKind.RETRIABLE:
            continue
        if elapsed_s < step.timeout_s:
            yield finding(
                Code.ELAPSED_TOO_SHORT,
                subject.pointer(step, "retry", "maxElapsed"),
                f'step "{step.id}" is not tried again after {in_words(elapsed_s)}, but one attempt may take '
                f"{in_words(step.timeout_s)}: one that timed out is never repeated",
                f"let maxElapsed be well above {in_words(step.timeout_s)}, or say maxRetries: 0",
            )


def interval_unused(subject: Subject) -> Iterator[Finding]:
    """The backoff begins above its own cap."""
    for step in subject.definition.steps:
        if step.retry.interval_s_max < step.retry.initial_interval_s:
            yield finding(
                Code.INTERVAL_UNUSED,
                subject.pointer(step, "retry", "maxInterval"),
                f'of step "{step.id}" maxInterval is below initialInterval: every wait is at most '
                f"{in_words(step.retry.interval_s_max)}, and none grows",
                "let maxInterval be the larger one",
            )


RULES: Final[tuple[Rule, ...]] = (
    deadline_too_short,
    held_by_deadline,
    retriable_before_pivot,
    retriable_with_end,
    elapsed_too_short,
    interval_unused,
)
