"""Results of simulated actions: made up so that every reference of the definition finds something there.

`steps.charge.result.card.last4` makes `{"card": {"last4": "..."}}`. An expression that does more than to go to
a place cannot be made up for: the author says in the services file what the action answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sagakeep.mapping import FROM, compile_reference, references_in
from sagakeep.plan import Plan


class MadeUp:
    """Results for the actions of one definition; what it reads of them is looked up once."""

    def __init__(self, plan: Plan) -> None:
        self._paths = {step_id: _paths_read(plan, step_id) for step_id in plan.steps}

    def result(self, step_id: str, key: str) -> object:
        """Return a result whose values are unique to the step and the key of its action."""
        result: dict[str, object] = {}
        for path in self._paths[step_id]:
            _put(result, path, f"{path[-1]} of {key}")
        return result or {"receipt": key}


def shares_leaf(payload: object, others: Sequence[object]) -> bool:
    """Is there a text in the payload that is also in one of the others?"""
    known = {leaf for other in others for leaf in _texts_in(other)}
    return any(leaf in known for leaf in _texts_in(payload))


def _paths_read(plan: Plan, step_id: str) -> list[tuple[str, ...]]:
    """The ways into the step's result, the short ones first; an index is not followed."""
    paths: set[tuple[str, ...]] = set()
    for step in plan.steps.values():
        for payload in (step.payload, step.compensation_payload):
            for _, value in references_in(payload):
                path = compile_reference(str(value[FROM])).reading.path
                if path is not None and path[0] == step_id and len(path) > 1:
                    paths.add(path[1:])
    return sorted(paths, key=lambda path: (len(path), path))


def _put(result: dict[str, object], path: tuple[str, ...], value: str) -> None:
    inside = result
    for name in path[:-1]:
        below = inside.get(name)
        if not isinstance(below, dict):
            below = inside[name] = {}
        inside = below
    inside.setdefault(path[-1], value)


def _texts_in(value: object) -> Iterator[str]:
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str) and one:
            yield one
        elif isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list | tuple):
            todo += one
