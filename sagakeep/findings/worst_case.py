"""The worst case of a definition: how long and how many calls it may take when all goes as badly as it may.

Every attempt takes its whole timeout, every wait is the longest that the backoff may draw. A service's
`Retry-After` and what waits for a service's capacity come on top, since no definition bounds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec

from sagakeep.backoff import interval_s
from sagakeep.definition import InDoubt, SagaDefinition, Step, StepKind
from sagakeep.plan import plan_of


class Path(msgspec.Struct, frozen=True):
    """The longest way through the graph, and how long it takes."""

    seconds: float
    steps: tuple[str, ...]


class WorstCase(msgspec.Struct, frozen=True):
    """What a saga may take. Seconds of the way forward up to the pivot, and of the way back after it.

    `endless` names the steps that are repeated until they are done; their attempts are not counted.
    """

    forward_s: float
    backward_s: float
    actions: int
    probes: int
    undos: int
    endless: tuple[str, ...]


def worst_case_of(definition: SagaDefinition) -> WorstCase:
    """Add up what the definition allows."""
    plan = plan_of(definition)
    after = plan.graph.dependents(plan.pivot) if plan.pivot is not None else frozenset()
    before = [step for step in definition.steps if step.id not in after]
    counted = [step for step in before if step.kind is not StepKind.RETRIABLE]
    ended = {step.id for step in counted}
    return WorstCase(
        forward_s=critical_path(definition, _action_s).seconds,
        backward_s=critical_path(definition, _way_back_s, until_pivot=False).seconds,
        actions=sum(1 + step.retries_max for step in counted),
        probes=sum(1 + step.retries_max for step in before if _is_probed(step)),
        undos=sum(1 + step.compensation_retries_max for step in before if step.compensation),
        endless=tuple([step.id for step in definition.steps if step.id not in ended]),
    )


def critical_path(
    definition: SagaDefinition, weight: Callable[[Step], float], *, until_pivot: bool = True
) -> Path:
    """Return the longest way through the steps that a deadline is for: up to the pivot, if there is one."""
    plan = plan_of(definition)
    after = plan.graph.dependents(plan.pivot) if plan.pivot is not None else frozenset()
    longest: dict[str, Path] = {}
    for step_id in plan.graph.topological:
        if step_id in after:
            continue
        ways = [longest[one] for one in plan.graph.dependencies[step_id]]
        way = max(ways, key=lambda path: path.seconds, default=_NOWHERE)
        longest[step_id] = Path(way.seconds + weight(plan.steps[step_id]), (*way.steps, step_id))
    if until_pivot and plan.pivot is not None:
        return longest[plan.pivot]
    return max(longest.values(), key=lambda path: path.seconds)


_NOWHERE: Final = Path(0.0, ())


def _is_probed(step: Step) -> bool:
    return step.in_doubt is InDoubt.PROBE and step.kind is not StepKind.READ_ONLY


def _action_s(step: Step) -> float:
    """How long one call may take; of a step without end only its first attempt."""
    if step.kind is StepKind.RETRIABLE:
        return step.timeout_s
    full = _attempts_s(step, step.retries_max)
    if step.retry.elapsed_s_max is None:
        return full
    return min(full, max(step.retry.elapsed_s_max, 0.0) + step.timeout_s)


def _way_back_s(step: Step) -> float:
    probing = _attempts_s(step, step.retries_max) if _is_probed(step) else 0.0
    return probing + (_attempts_s(step, step.compensation_retries_max) if step.compensation else 0)


def _attempts_s(step: Step, retries_max: int) -> float:
    waits = sum(interval_s(step.retry, attempt) for attempt in range(1, retries_max + 1))
    return (1 + retries_max) * step.timeout_s + waits


def in_words(seconds: float) -> str:
    """Write a duration for a person: `4 min 14 s`, `0.5 s`, `30 d`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    parts = []
    left = math.ceil(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
