"""Rules about doubt: what becomes of a step when nobody can say whether it happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sagakeep.definition import InDoubt, OnFailure, Step, StepKind
from sagakeep.findings.finding import Code, Finding, finding
from sagakeep.findings.rules.subject import Rule, Subject


def undo_needs_result(subject: Subject) -> Iterator[Finding]:
    """The undo asks for what only a reply can tell, and there may have been none."""
    for step, pointer, reference in subject.references:
        is_undone = step.in_doubt is InDoubt.UNDO and bool(step.compensation)
        if is_undone and step.id in reference.reading.results and subject.may_be_in_doubt(step):
            yield finding(
                Code.UNDO_NEEDS_RESULT,
                pointer,
                f'the undo of step "{step.id}" needs the result of its action, which is null when the step '
                "is in doubt: the effect may be there, and the service is not told which",
                "say inDoubt: probe, or hold; or leave it out and let the service find the effect by the "
                "header Saga-Action-Key, or by an id that the payload brings",
            )


def pivot_in_doubt(subject: Subject) -> Iterator[Finding]:
    """A pivot that may have happened is taken for one that did not."""
    pivot = subject.pivot
    if pivot is None or pivot.in_doubt is not InDoubt.UNDO or pivot.compensation:
        return
    yield finding(
        Code.PIVOT_IN_DOUBT,
        subject.pointer(pivot),
        f'when the pivot "{pivot.id}" is in doubt the saga is compensated and everything else undone, though '
        "the pivot may have happened and has no undo",
        "say inDoubt: probe with the action that knows, or inDoubt: hold",
    )


def probe_is_deed(subject: Subject) -> Iterator[Finding]:
    """The question would change the answer."""
    for step in subject.definition.steps:
        if step.probe and step.probe in (step.action, step.compensation):
            what = "action" if step.probe == step.action else "compensation"
            yield finding(
                Code.PROBE_IS_DEED,
                subject.pointer(step, "probe"),
                f'the probe of step "{step.id}" is its {what}: a question must change nothing',
                'name an action that only answers {"outcome": "done"|"not_done"}',
            )


def probe_unused(subject: Subject) -> Iterator[Finding]:
    """There is a probe that nobody asks."""
    for step in subject.definition.steps:
        if step.probe and step.in_doubt is not InDoubt.PROBE:
            yield finding(
                Code.PROBE_UNUSED,
                subject.pointer(step, "probe"),
                f'step "{step.id}" has a probe, but its inDoubt is {step.in_doubt}: it is never asked',
                "say inDoubt: probe, or leave the probe out",
            )


def in_doubt_unused(subject: Subject) -> Iterator[Finding]:
    """It is said what to do in a doubt that never is, or never is acted upon."""
    is_held = subject.definition.on_failure is OnFailure.HOLD
    for step in subject.definition.steps:
        if step.in_doubt is InDoubt.UNDO:
            continue
        if step.kind is StepKind.READ_ONLY:
            why = "it is readOnly, so it is never in doubt"
        elif is_held and step.in_doubt is InDoubt.HOLD:
            why = "with onFailure: hold the saga stands still anyway, and who compensates it accepts the doubt"
        else:
            continue
        yield finding(
            Code.IN_DOUBT_UNUSED,
            subject.pointer(step, "inDoubt"),
            f'inDoubt: {step.in_doubt} of step "{step.id}" has no effect: {why}',
            "leave it out" + _with_probe(step),
        )


def _with_probe(step: Step) -> str:
    return ", and the probe with it" if step.in_doubt is InDoubt.PROBE else ""


RULES: Final[tuple[Rule, ...]] = (
    undo_needs_result,
    pivot_in_doubt,
    probe_is_deed,
    probe_unused,
    in_doubt_unused,
)
