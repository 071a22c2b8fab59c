"""What many sagas have in common, counted here: for a directory, where no server has an index to ask.

It takes states one by one, and keeps of each some numbers. The answer is the one that a server gives
(`sagakeep.actors.analytics_query`), but for its bounds: here all sagas are looked at, and all is listed.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sagakeep.analytics import (
    PERCENTILES,
    Analytics,
    CallFigures,
    Failure,
    NameFigures,
    Ranks,
    cut_us,
)
from sagakeep.saga_status import COMPLETED, MOVING, SagaStatus
from sagakeep.service import Phase
from sagakeep.state import SagaState
from sagakeep.step_figures import StepFigures, figures_of

_Call = tuple[str, str, Phase, str, str]  # name, step, phase, service, action

_ACTION: Final[Phase] = "action"
_UNDO: Final[Phase] = "compensation"


def tally(sagas: Iterable[SagaState]) -> Analytics:
    """Look at the sagas."""
    tallied = _Tally()
    for state in sagas:
        tallied.note(state)
    return tallied.analytics()


class _Tally:
    def __init__(self) -> None:
        self._statuses: defaultdict[str, Counter[SagaStatus]] = defaultdict(Counter)
        self._durations: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._calls: defaultdict[_Call, array[float]] = defaultdict(lambda: array("d"))
        self._attempts: Counter[_Call] = Counter()
        self._failures: Counter[tuple[str, str, Phase, str]] = Counter()

    def note(self, state: SagaState) -> None:
        name = state.definition.name
        self._statuses[name][state.status] += 1
        if state.status is COMPLETED:
            begun_us, ended_us = _us(state.created_at_utc_s), _us(state.updated_at_utc_s)
            self._durations[name].append((ended_us - begun_us) / 1e6)
        if state.status not in MOVING:
            for one in figures_of(state):
                self._note_step(name, one)

    def _note_step(self, name: str, one: StepFigures) -> None:
        for phase, attempts, took_us, error in _calls_of(one):
            if took_us is not None:
                call = (name, one.step_id, phase, one.service, one.action)
                self._calls[call].append(cut_us(took_us) / 1e6)
                self._attempts[call] += attempts
            if error:
                self._failures[name, one.step_id, phase, error] += 1

    def analytics(self) -> Analytics:
        names = [
            NameFigures(name, counts, _ranks(self._durations[name]))
            for name, counts in self._statuses.items()
        ]
        calls = [
            CallFigures(*call, len(taken), self._attempts[call] / len(taken), _ranks(taken))
            for call, taken in self._calls.items()
        ]
        failures = [Failure(*key, count) for key, count in self._failures.items()]
        return Analytics(
            sum(one.sagas for one in names),
            True,
            tuple(sorted(names, key=lambda one: (-one.sagas, one.name))),
            tuple(sorted(calls, key=lambda one: (-(one.durations_s[-1] or 0.0), one[:5]))),
            tuple(sorted(failures, key=lambda one: (-one.sagas, one[:4]))),
        )


def _calls_of(one: StepFigures) -> Iterator[tuple[Phase, int, int | None, str]]:
    yield _ACTION, one.attempts, one.took_us, one.error
    yield _UNDO, one.undo_attempts, one.undo_took_us, one.undo_error


def _us(at_utc_s: float) -> int:
    return round(at_utc_s * 1e6)


def _ranks(taken: Iterable[float]) -> Ranks:
    ordered = sorted(taken)
    return tuple(percentile(ordered, percent) for percent in PERCENTILES)


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The nearest rank: the smallest value that `percent` of all do not exceed; None of nothing."""
    if not ordered:
        return None
    return ordered[-(-len(ordered) * percent // 100) - 1]
