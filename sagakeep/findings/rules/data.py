"""Rules about data: what is read and never there, there and never read, or shown where it is a secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sagakeep.definition import Step, StepKind
from sagakeep.findings.finding import Code, Finding, finding
from sagakeep.findings.rules.subject import Rule, Subject
from sagakeep.pointer import child, tokens_of

SAGA_FIELDS: Final = ("id", "name", "tags")  # what `saga` has in an expression


def result_unused(subject: Subject) -> Iterator[Finding]:
    """A step that only reads, whose answer nobody reads and nobody waits for."""
    read = {
        step_id for _, _, reference in subject.references for step_id in reference.reading.steps
    }
    for step in subject.definition.steps:
        is_idle = step.id not in read and not subject.graph.successors[step.id]
        if step.kind is StepKind.READ_ONLY and is_idle:
            yield finding(
                Code.RESULT_UNUSED,
                subject.pointer(step),
                f'step "{step.id}" is readOnly, no step reads its result and none waits for it: all that it '
                "can do is to fail the saga",
                "use its result by $from, let the steps that it guards depend on it, or leave it out",
            )


def always_null(subject: Subject) -> Iterator[Finding]:
    """An expression reads of the saga what it has not."""
    tags = subject.definition.tags
    for _, pointer, reference in subject.references:
        unknown = [f"saga.{one}" for one in reference.reading.saga_fields if one not in SAGA_FIELDS]
        unknown += [f"saga.tags.{one}" for one in reference.reading.tags if one not in tags]
        for name in unknown:
            has = "this saga has no such tag" if "tags" in name else "a saga has id, name and tags"
            yield finding(
                Code.ALWAYS_NULL,
                f"{pointer}/$from",
                f"{name} is always null: {has}",
                "mend the name, or write the value into the payload",
            )


def sensitive_copied(subject: Subject) -> Iterator[Finding]:
    """What one step calls sensitive is copied to another step that does not."""
    for step, pointer, reference in subject.references:
        path = reference.reading.path
        if path is None or path[0] == step.id:
            continue
        source, copied = subject.plan.steps[path[0]], path[1:]
        if _touches(source, copied) and not _covers(step, _place_in(subject, step, pointer)):
            yield finding(
                Code.SENSITIVE_COPIED,
                f"{pointer}/$from",
                f'"{reference.expression}" is sensitive in step "{source.id}", but not in step "{step.id}", '
                "whose payload is shown and kept with it",
                f'add "{_where(subject, step, pointer)}" to the sensitive of step "{step.id}"',
            )


def _touches(source: Step, path: tuple[str, ...]) -> bool:
    """Is there something sensitive at the path, or on the way to it, or below it?"""
    for pointer in source.sensitive:
        tokens = tokens_of(pointer)
        shared = min(len(tokens), len(path)) if tokens is not None else 0
        if tokens == () or (shared and tokens is not None and tokens[:shared] == path[:shared]):
            return True
    return False


def _covers(step: Step, place: tuple[str, ...]) -> bool:
    """Is what is at the place of a payload never shown?"""
    known = [tokens for pointer in step.sensitive if (tokens := tokens_of(pointer)) is not None]
    return any(place[: len(tokens)] == tokens for tokens in known)


def _place_in(subject: Subject, step: Step, pointer: str) -> tuple[str, ...]:
    """Return the place within the payload, or the compensation's payload."""
    depth = len(subject.pointer(step).split("/"))
    return (tokens_of(pointer) or ())[depth:]


def _where(subject: Subject, step: Step, pointer: str) -> str:
    place = ""
    for token in _place_in(subject, step, pointer):
        place = child(place, token)
    return place


RULES: Final[tuple[Rule, ...]] = (result_unused, always_null, sensitive_copied)
