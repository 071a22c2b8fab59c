"""The script: what all worlds of one definition have in common."""

from __future__ import annotations

from typing import Final

from sagakeep.definition import SagaDefinition
from sagakeep.plan import plan_of
from sagakeep.proof.promises import Promises
from sagakeep.proof.results import MadeUp

LATENCY_S: Final = 1e-3  # of a call at least, where steps run side by side; twice that at most


class Script:
    """A definition, what its services promise, and how long calls take.

    Where steps run side by side the calls of each take a time of its own, so that nothing depends on the order
    of what happens at the same instant; else they take none. `instant_s` is shorter than what is between them.
    """

    def __init__(self, definition: SagaDefinition, promises: Promises) -> None:
        self.plan = plan_of(definition)
        self.promises = promises
        self.made_up = MadeUp(self.plan)
        steps = definition.steps
        shortest_s = min(LATENCY_S, *[step.timeout_s / 10 for step in steps])
        self.instant_s = shortest_s / (10 * len(steps))
        self.latencies_s = {
            step.id: shortest_s * (1 + at / len(steps)) if self._is_parallel() else 0.0
            for at, step in enumerate(steps)
        }

    def _is_parallel(self) -> bool:
        graph = self.plan.graph
        return any(len(graph.ancestors(one)) != at for at, one in enumerate(graph.topological))
