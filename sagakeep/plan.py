"""The plan of a definition: what follows from it alone and is asked for at every decision.

Made once for each definition and kept with it, so that a decision looks things up instead of searching.
"""

from __future__ import annotations

from functools import cached_property

from sagakeep.definition import SagaDefinition, StepKind
from sagakeep.graph import graph_of
from sagakeep.mapping import has_references

_KEY = "plan"


class Plan:
    """`steps` by id; `pivot` is None when there is none; the sets say whose payloads have references.

    It does not keep the definition, which keeps it: no saga is to leave a cycle.
    """

    def __init__(self, definition: SagaDefinition) -> None:
        self._steps = definition.steps
        self.graph = graph_of(definition)
        self.steps = {step.id: step for step in definition.steps}
        pivots = [step.id for step in definition.steps if step.kind is StepKind.PIVOT]
        self.pivot = pivots[0] if pivots else None

    @cached_property
    def refers(self) -> frozenset[str]:
        """The steps whose payload has references; found when one of them starts, which many never see."""
        return frozenset([step.id for step in self._steps if has_references(step.payload)])

    @cached_property
    def undo_refers(self) -> frozenset[str]:
        """The steps whose compensation has a payload of its own with references."""
        return frozenset(
            [step.id for step in self._steps if has_references(step.compensation_payload)]
        )


def plan_of(definition: SagaDefinition) -> Plan:
    """Return the definition's plan."""
    kept: Plan | None = definition.__dict__.get(_KEY)
    if kept is None:
        kept = definition.__dict__[_KEY] = Plan(definition)
    return kept
