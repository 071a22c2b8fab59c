"""The order of steps: what `dependsOn`, the pivot and `$from` may ask for.

Checks of one definition that need more than one step. A reference may read a step that is certainly
done when it is filled in: an ancestor, or in a `compensationPayload` the step itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from sagakeep.definition import Step, StepKind
from sagakeep.faults import Faults, found
from sagakeep.graph import Graph, cycles
from sagakeep.mapping import FROM, MappingError, compile_reference, has_references, references_in

AFTER_PIVOT: Final = frozenset({StepKind.RETRIABLE, StepKind.READ_ONLY})
REFERENCES_MAX: Final = 1_000  # in one saga: each is compiled while the client waits
REFERENCE_CHARS_MAX: Final = 64 << 10  # of all their expressions together
CYCLE_SHOWN_MAX: Final = 20  # steps of a long cycle that a detail names
_QUOTE: Final = 'an id with - . : or a leading digit is quoted, as in steps."a-b".result'


class _Reference(NamedTuple):
    pointer: str
    value: dict[str, object]
    step_id: str
    is_compensation: bool


def check_order(steps: tuple[Step, ...], faults: Faults) -> None:
    """Note every fault in how the steps refer to each other."""
    index = _check_ids(steps, faults)
    dependencies = {
        step.id: _check_dependencies(step, at, index, faults)
        for at, step in enumerate(steps)
        if index[step.id] == at
    }
    is_cyclic = _check_cycles(dependencies, index, faults)
    pivot = _check_pivots(steps, faults)
    references = _references(steps, faults)
    if pivot or references:
        graph = None if is_cyclic else Graph(tuple(dependencies.items()))
        if graph and pivot:
            _check_after_pivot(steps, pivot, graph, faults)
        for reference in references:
            _check_reference(reference, graph, index, faults)


def _check_ids(steps: tuple[Step, ...], faults: Faults) -> dict[str, int]:
    """Return the index of the first step with each id."""
    index: dict[str, int] = {}
    for at, step in enumerate(steps):
        first = index.setdefault(step.id, at)
        if first != at:
            faults.add(f"/steps/{at}/id", f"is {found(step.id)}, the id of /steps/{first} too")
    return index


def _check_dependencies(
    step: Step, at: int, index: dict[str, int], faults: Faults
) -> tuple[str, ...]:
    """Return the dependencies that exist, each once."""
    sound: dict[str, None] = {}
    for position, needed in enumerate(step.depends_on):
        pointer = f"/steps/{at}/dependsOn/{position}"
        if needed not in index:
            hint = faults.hint(needed, index)
            faults.add(pointer, f"is {found(needed)}, which is no step of this saga{hint}")
        elif needed == step.id:
            faults.add(pointer, f"is {found(needed)}, the step itself")
        elif needed in sound:
            faults.add(pointer, f"is {found(needed)}, which is there already")
        else:
            sound[needed] = None
    return tuple(sound)


def _check_cycles(
    dependencies: dict[str, tuple[str, ...]], index: dict[str, int], faults: Faults
) -> bool:
    """Note each cycle at its first step; tell whether there is one."""
    if all(index[one] < index[step_id] for step_id, many in dependencies.items() for one in many):
        return False  # as nearly always: each step depends on earlier ones
    found_cycles = cycles(dependencies)
    for cycle in found_cycles:
        first = min(range(len(cycle)), key=lambda at: index[cycle[at]])
        way = [*cycle[first:], *cycle[:first], cycle[first]]
        shown = (
            way if len(way) <= CYCLE_SHOWN_MAX else [*way[: CYCLE_SHOWN_MAX - 1], "...", way[-1]]
        )
        faults.add(
            f"/steps/{index[cycle[first]]}/dependsOn",
            f"makes a cycle, each waiting for the next: {' -> '.join(shown)}",
        )
    return bool(found_cycles)


def _check_pivots(steps: tuple[Step, ...], faults: Faults) -> Step | None:
    """Return the pivot, the first when there are more."""
    pivots = [(at, step) for at, step in enumerate(steps) if step.kind is StepKind.PIVOT]
    for at, _ in pivots[1:]:
        faults.add(f"/steps/{at}/kind", f'is a second pivot; "{pivots[0][1].id}" is the pivot')
    return pivots[0][1] if pivots else None


def _check_after_pivot(steps: tuple[Step, ...], pivot: Step, graph: Graph, faults: Faults) -> None:
    after = graph.dependents(pivot.id)
    for at, step in enumerate(steps):
        if step.id in after and step.kind not in AFTER_PIVOT:
            faults.add(
                f"/steps/{at}/kind",
                f'is {step.kind}, but the step comes after the pivot "{pivot.id}", from where nothing '
                "is undone; expected retriable or readOnly",
            )


def _references(steps: tuple[Step, ...], faults: Faults) -> list[_Reference]:
    """Return all references; the first of them when there are more than can be checked in time."""
    references: list[_Reference] = []
    chars = 0
    for reference in _all_references(steps):
        chars += len(str(reference.value[FROM]))
        if len(references) == REFERENCES_MAX or chars > REFERENCE_CHARS_MAX:
            faults.add(
                "/steps",
                f"have too many references by {FROM}: allowed are {REFERENCES_MAX} of together "
                f"{REFERENCE_CHARS_MAX} characters",
            )
            break
        references.append(reference)
    return references


def _all_references(steps: tuple[Step, ...]) -> Iterator[_Reference]:
    for at, step in enumerate(steps):
        if has_references(step.payload):
            for place, value in references_in(step.payload):
                yield _Reference(f"/steps/{at}/payload{place}", value, step.id, False)
        if has_references(step.compensation_payload):
            for place, value in references_in(step.compensation_payload):
                yield _Reference(f"/steps/{at}/compensationPayload{place}", value, step.id, True)


def _check_reference(
    reference: _Reference, graph: Graph | None, index: dict[str, int], faults: Faults
) -> None:
    """Check one reference; without a graph nothing is known to be done before anything else."""
    pointer, value = reference.pointer, reference.value
    expression = value[FROM]
    if len(value) > 1:
        faults.add(pointer, f"has {len(value) - 1} more fields: {FROM} must stand alone")
        return
    if not isinstance(expression, str):
        faults.add(f"{pointer}/{FROM}", f"is {found(expression)}; expected a JMESPath string")
        return
    complaints = _complaints(expression, reference, graph, index, faults)
    if complaints:
        faults.add(f"{pointer}/{FROM}", "; ".join(complaints))


def _complaints(
    expression: str,
    reference: _Reference,
    graph: Graph | None,
    index: dict[str, int],
    faults: Faults,
) -> list[str]:
    try:
        reading = compile_reference(expression).reading
    except MappingError as error:
        return [f"{error} ({_QUOTE})"]
    complaints = list(reading.complaints)
    for step_id in reading.steps:
        if step_id not in index:
            hint = faults.hint(step_id, index)
            complaints.append(f"reads {found(step_id)}, no step of this saga{hint} ({_QUOTE})")
        elif graph and not _is_done(step_id, reference, graph):
            complaints.append(
                f"reads {found(step_id)}, which need not be done by then: depend on it"
            )
    return complaints


def _is_done(step_id: str, reference: _Reference, graph: Graph) -> bool:
    if step_id == reference.step_id:
        return reference.is_compensation
    return graph.is_ancestor(step_id, reference.step_id)
