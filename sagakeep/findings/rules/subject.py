"""The subject of a review: a definition, and what the rules ask about its order again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Final

from sagakeep.definition import SagaDefinition, Step, StepKind
from sagakeep.findings.finding import Finding
from sagakeep.mapping import Reference, compile_reference, references_in
from sagakeep.plan import plan_of

NAMES_SHOWN_MAX: Final = 5


class Subject:
    """A valid definition under review."""

    def __init__(self, definition: SagaDefinition) -> None:
        self.definition = definition
        self.plan = plan_of(definition)
        self.graph = self.plan.graph
        pivot = self.plan.pivot
        self.pivot = self.plan.steps[pivot] if pivot is not None else None
        self.after_pivot = self.graph.dependents(pivot) if pivot is not None else frozenset()
        self._fallible = [
            step
            for step in definition.steps
            if step.id not in self.after_pivot and step.kind is not StepKind.RETRIABLE
        ]
        self._can_still_fail: dict[str, list[Step]] = {}

    def pointer(self, step: Step, *members: str) -> str:
        """Point at a step, or at what is in it."""
        return "/".join([f"/steps/{self.graph.index[step.id]}", *members])

    def may_be_undone(self, step: Step) -> bool:
        """Has the step an effect that must be undone when the saga turns around after it?"""
        return step.kind in (StepKind.COMPENSATABLE, StepKind.RETRIABLE) and (
            step.id not in self.after_pivot
        )

    def may_be_in_doubt(self, step: Step) -> bool:
        """Can it be that nobody knows whether the step happened, while it may still be undone?"""
        return step.kind is not StepKind.READ_ONLY and step.id not in self.after_pivot

    def can_still_fail(self, step: Step) -> list[Step]:
        """Return the steps that may turn the saga around when this one is done."""
        known = self._can_still_fail.get(step.id)
        if known is None:
            earlier = self.graph.ancestors(step.id) | {step.id}
            known = [other for other in self._fallible if other.id not in earlier]
            self._can_still_fail[step.id] = known
        return known

    @cached_property
    def references(self) -> list[tuple[Step, str, Reference]]:
        """Every reference by `$from`: its step, its pointer, and what it reads."""
        return [one for step in self.definition.steps for one in self._references_of(step)]

    def _references_of(self, step: Step) -> Iterator[tuple[Step, str, Reference]]:
        for name, payload in (
            ("payload", step.payload),
            ("compensationPayload", step.compensation_payload),
        ):
            for place, value in references_in(payload):
                pointer = self.pointer(step, name) + place
                yield step, pointer, compile_reference(str(value["$from"]))


Rule = Callable[[Subject], Iterable[Finding]]


def names(steps: Sequence[Step], conjunction: str = "and") -> str:
    """Name some steps in a sentence; there must be one."""
    ids = [f'"{step.id}"' for step in steps[:NAMES_SHOWN_MAX]]
    if len(steps) > NAMES_SHOWN_MAX:
        ids.append(f"{len(steps) - NAMES_SHOWN_MAX} more")
    return f" {conjunction} ".join(filter(None, [", ".join(ids[:-1]), ids[-1]]))
