"""The graph of steps, against a slow and obvious model."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from sagakeep.definition import SagaDefinition, Step
from sagakeep.graph import Graph, cycles, graph_of

DIAMOND = Graph((("a", ()), ("b", ("a",)), ("c", ("a",)), ("d", ("b", "c")), ("alone", ())))


def saga(**dependencies: tuple[str, ...]) -> SagaDefinition:
    steps = [
        Step(id=step_id, service="s", action="do", depends_on=needed)
        for step_id, needed in dependencies.items()
    ]
    return SagaDefinition(name="n", steps=tuple(steps))


def test_a_diamond_knows_both_directions() -> None:
    assert DIAMOND.order == ("a", "b", "c", "d", "alone")
    assert DIAMOND.index["c"] == 2
    assert DIAMOND.dependencies["d"] == ("b", "c")
    assert DIAMOND.successors["a"] == ("b", "c")
    assert DIAMOND.ancestors("d") == {"a", "b", "c"}
    assert DIAMOND.dependents("a") == {"b", "c", "d"}
    assert DIAMOND.ancestors("alone") == DIAMOND.dependents("alone") == frozenset()


def test_a_step_is_not_its_own_ancestor() -> None:
    assert DIAMOND.is_ancestor("a", "d")
    assert not DIAMOND.is_ancestor("d", "a")
    assert not DIAMOND.is_ancestor("a", "a")


def test_a_dependency_may_come_later_in_the_list() -> None:
    graph = graph_of(saga(last=("first",), first=()))
    assert graph.ancestors("last") == {"first"}
    assert graph.order == ("last", "first")


def test_sagas_of_the_same_shape_share_a_graph() -> None:
    assert graph_of(saga(a=(), b=("a",))) is graph_of(saga(a=(), b=("a",)))
    assert graph_of(saga(a=(), b=("a",))) is not graph_of(saga(a=(), b=()))


def test_a_cycle_reads_in_the_direction_of_waiting() -> None:
    (cycle,) = cycles({"a": ("c",), "b": ("a",), "c": ("b",), "tail": ("a",)})
    assert cycle == ("a", "c", "b")
    assert cycles({"a": (), "b": ("a",)}) == []


def test_two_separate_cycles_are_both_found() -> None:
    found = cycles({"a": ("b",), "b": ("a",), "c": ("d",), "d": ("c",)})
    assert [set(cycle) for cycle in found] == [{"a", "b"}, {"c", "d"}]


def test_cycles_that_share_a_step_are_told_once() -> None:
    assert len(cycles({"a": ("b", "c"), "b": ("a",), "c": ("a",)})) == 1


def test_the_densest_graph_of_200_steps_is_fast() -> None:
    ids = [f"s{at}" for at in range(200)]
    shape = tuple([(step_id, tuple(ids[:at])) for at, step_id in enumerate(ids)])
    begun = time.perf_counter()
    graph = Graph(shape)
    assert len(graph.ancestors("s199")) == 199
    assert cycles(dict(shape)) == []
    assert time.perf_counter() - begun < 1.0


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    count = draw(st.integers(1, 8))
    ids = [f"s{at}" for at in range(count)]
    pick = st.lists(st.sampled_from(ids), unique=True, max_size=3)
    return {step_id: tuple(draw(pick)) for step_id in ids}


def reachable(dependencies: dict[str, tuple[str, ...]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(dependencies[start])
    while todo:
        step_id = todo.pop()
        if step_id not in seen:
            seen.add(step_id)
            todo += dependencies[step_id]
    return seen


@given(shapes())
def test_cycles_are_found_exactly_when_a_step_reaches_itself(
    dependencies: dict[str, tuple[str, ...]],
) -> None:
    found = cycles(dependencies)
    is_cyclic = any(step_id in reachable(dependencies, step_id) for step_id in dependencies)
    assert bool(found) == is_cyclic
    for cycle in found:
        for step_id, following in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert following in dependencies[step_id]


@given(shapes())
def test_ancestors_and_dependents_agree_with_walking(
    dependencies: dict[str, tuple[str, ...]],
) -> None:
    if cycles(dependencies):
        return
    graph = Graph(tuple(dependencies.items()))
    for step_id in dependencies:
        assert graph.ancestors(step_id) == reachable(dependencies, step_id)
        for other in dependencies:
            assert (other in graph.ancestors(step_id)) == (step_id in graph.dependents(other))
            assert graph.is_ancestor(other, step_id) == (other in graph.ancestors(step_id))
