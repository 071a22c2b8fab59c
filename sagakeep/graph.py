"""The graph that `dependsOn` makes of a definition's steps.

    reserve ──> charge ──> ship          dependencies of charge: reserve
            └─> notify                   dependents of reserve:  charge, notify, ship

A graph depends on the ids and dependencies alone, so sagas of the same shape share one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from sagakeep.definition import SagaDefinition

GRAPHS_MAX: Final = 1_024  # shapes of sagas that are kept; a graph of 200 steps is about 100 KB

_Shape = tuple[tuple[str, tuple[str, ...]], ...]


def graph_of(definition: SagaDefinition) -> Graph:
    """Return the graph of a valid definition, made once for each shape."""
    return _graph_of_shape(tuple([(step.id, step.depends_on) for step in definition.steps]))


class Graph:
    """Who waits for whom. All ids are in list order wherever they come in a tuple."""

    __slots__ = ("_masks", "_topological", "dependencies", "index", "order", "successors")

    def __init__(self, shape: _Shape) -> None:
        self.order: tuple[str, ...] = tuple([step_id for step_id, _ in shape])
        self.index: dict[str, int] = {step_id: at for at, step_id in enumerate(self.order)}
        self.dependencies: dict[str, tuple[str, ...]] = dict(shape)
        self.successors = _reversed(self.dependencies)
        self._masks: tuple[list[int], list[int]] | None = None
        self._topological: tuple[str, ...] = ()

    @property
    def topological(self) -> tuple[str, ...]:
        """Every step, each after its dependencies."""
        if not self._topological:
            self._topological = tuple(_topological(self.dependencies, self.successors))
        return self._topological

    def ancestors(self, step_id: str) -> frozenset[str]:
        """Return every step that must be done before this one may start."""
        return self._named(self._reachable()[0][self.index[step_id]])

    def dependents(self, step_id: str) -> frozenset[str]:
        """Return every step that may start only after this one is done."""
        return self._named(self._reachable()[1][self.index[step_id]])

    def is_ancestor(self, step_id: str, of: str) -> bool:
        """Tell whether `step_id` must be done before `of` may start."""
        return bool(self._reachable()[0][self.index[of]] >> self.index[step_id] & 1)

    def _named(self, mask: int) -> frozenset[str]:
        return frozenset([step_id for at, step_id in enumerate(self.order) if mask >> at & 1])

    def _reachable(self) -> tuple[list[int], list[int]]:
        """Return for each index the bits of its ancestors, and of its dependents."""
        if self._masks is None:
            order = self.topological
            self._masks = (
                _closure(order, self.dependencies, self.index),
                _closure(order[::-1], self.successors, self.index),
            )
        return self._masks


@lru_cache(maxsize=GRAPHS_MAX)
def _graph_of_shape(shape: _Shape) -> Graph:
    return Graph(shape)


def _reversed(dependencies: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    successors: dict[str, list[str]] = {step_id: [] for step_id in dependencies}
    for step_id, needed in dependencies.items():
        for one in needed:
            successors[one].append(step_id)
    return {step_id: tuple(following) for step_id, following in successors.items()}


def _topological(
    dependencies: Mapping[str, tuple[str, ...]], successors: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """Order the steps so that each comes after its dependencies (Kahn)."""
    missing = {step_id: len(needed) for step_id, needed in dependencies.items()}
    order = [step_id for step_id, count in missing.items() if count == 0]
    for step_id in order:  # grows while it is walked
        for following in successors[step_id]:
            missing[following] -= 1
            if missing[following] == 0:
                order.append(following)
    assert len(order) == len(dependencies), "a definition with a cycle is never accepted"
    return order


def _closure(
    order: Sequence[str], before: Mapping[str, tuple[str, ...]], index: Mapping[str, int]
) -> list[int]:
    masks = [0] * len(order)
    for step_id in order:
        mask = 0
        for one in before[step_id]:
            mask |= masks[index[one]] | 1 << index[one]
        masks[index[step_id]] = mask
    return masks


def cycles(dependencies: Mapping[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Find cycles, none of which share a step; empty exactly when there is no cycle.

    Each reads in the direction of waiting: every step depends on the next, the last on the first.
    Every dependency must be a key. Takes time in proportion to the graph.
    """
    found: list[tuple[str, ...]] = []
    taken: set[str] = set()  # steps of the cycles found
    visited: set[str] = set()
    for root in dependencies:
        if root not in visited:
            _search(root, dependencies, visited, taken, found)
    return found


def _search(
    root: str,
    dependencies: Mapping[str, tuple[str, ...]],
    visited: set[str],
    taken: set[str],
    found: list[tuple[str, ...]],
) -> None:
    """Walk depth first from `root`; an edge back to the path closes a cycle."""
    path: dict[str, Iterator[str]] = {root: iter(dependencies[root])}
    visited.add(root)
    while path:
        step_id = next(reversed(path))
        following = next(path[step_id], None)
        if following is None:
            del path[step_id]
        elif following in path:
            if step_id not in taken and following not in taken:  # spares most of the looking
                _take(path, following, taken, found)
        elif following not in visited:
            visited.add(following)
            path[following] = iter(dependencies[following])


def _take(
    path: dict[str, Iterator[str]], first: str, taken: set[str], found: list[tuple[str, ...]]
) -> None:
    """Note the cycle from `first` to the end of the path, unless a step of it is taken."""
    steps = list(path)
    cycle = tuple(steps[steps.index(first) :])
    if taken.isdisjoint(cycle):
        taken.update(cycle)
        found.append(cycle)
