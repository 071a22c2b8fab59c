"""What many sagas have in common: undone how often, how long they take, and which steps fail of what.

It takes sagas one by one, and keeps of each a duration and a count.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sagakeep.commands.export_table import duration_s_of
from sagakeep.published import SagaView
from sagakeep.saga_status import HELD

ERRORS_MAX: Final = 10_000  # different ones that are counted apart
OTHER_ERRORS: Final = "(other errors)"
PERCENTILES: Final = (50, 90, 99)


class NameFigures(NamedTuple):
    """The sagas of one name, of which the `held` ones wait for an operator.

    `undo_rate` is of those that are final; durations are of completed ones.
    """

    name: str
    sagas: int
    completed: int
    compensated: int
    held: int
    undo_rate: float | None
    durations_s: tuple[float | None, ...]  # at PERCENTILES, by nearest rank


class Failure(NamedTuple):
    """How many sagas have this step failed with this error."""

    name: str
    step_id: str
    error: str
    sagas: int


class Tallied(NamedTuple):
    """Names with the most undone first, failures the most frequent first."""

    names: tuple[NameFigures, ...]
    failures: tuple[Failure, ...]


def tally(sagas: Iterable[SagaView]) -> Tallied:
    """Count the sagas."""
    counts: Counter[tuple[str, str]] = Counter()
    durations: dict[str, array[float]] = {}
    failures: Counter[tuple[str, str, str]] = Counter()
    for saga in sagas:
        name = saga["name"]
        counts[name, saga["status"]] += 1
        taken = durations.setdefault(name, array("d"))
        if saga["status"] == "completed":
            taken.append(duration_s_of(saga) or 0.0)
        for key in _failures(saga):
            is_known = key in failures or len(failures) < ERRORS_MAX
            failures[key if is_known else (*key[:2], OTHER_ERRORS)] += 1
    names = [_figures(name, counts, taken) for name, taken in durations.items()]
    names.sort(key=lambda one: (-one.compensated, one.name))
    found = [Failure(*key, count) for key, count in failures.items()]
    found.sort(key=lambda one: (-one.sagas, one[:3]))
    return Tallied(tuple(names), tuple(found))


def _failures(saga: SagaView) -> Iterable[tuple[str, str, str]]:
    failed = set(saga["failedSteps"])
    return [
        (saga["name"], step["id"], step["error"]) for step in saga["steps"] if step["id"] in failed
    ]


def _figures(name: str, counts: Counter[tuple[str, str]], taken: array[float]) -> NameFigures:
    completed, compensated = (counts[name, status] for status in ("completed", "compensated"))
    final = completed + compensated
    ordered = sorted(taken)
    return NameFigures(
        name,
        sum(count for (one, _status), count in counts.items() if one == name),
        completed,
        compensated,
        sum(counts[name, status] for status in HELD),
        compensated / final if final else None,
        tuple(percentile(ordered, percent) for percent in PERCENTILES),
    )


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The nearest rank: the smallest value that `percent` of all do not exceed; None of nothing."""
    if not ordered:
        return None
    return ordered[-(-len(ordered) * percent // 100) - 1]
