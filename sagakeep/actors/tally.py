"""Tallies: what is counted where it happens, in plain integers, because it happens thousands of times a second.

    SagaTally    what became of sagas, by name: begun, undone, come to rest and after how long
    CallTally    what became of attempts at one service, by action and outcome, and how long they took

Names come from clients, so what is told apart is bounded: the first so many names, and one more for all others.
All counts begin at 0 with the process; what must survive it is counted by `committed.Counters`.
"""

from __future__ import annotations

from typing import Final

from sagakeep import limits, saga_status, service
from sagakeep.actors.committed import Note
from sagakeep.runtime.histogram import Histogram
from sagakeep.runtime.journal_files import Position
from sagakeep.saga_status import SagaStatus
from sagakeep.service import AttemptResult, Call, Phase

OTHER: Final = "other"  # stands for every name that came too late
OUTCOMES: Final = ("done", "refused", "not_done", "unknown")  # refused: not done, for good


class Labels:
    """The first `most` names, each as it is; any other is `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        known = self._known.get(name)
        if known is not None:
            return known
        if len(self._known) >= self._most:
            return OTHER
        return self._known.setdefault(name, name)


class SagaTally:
    """Counts sagas by name."""

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self.undos: dict[str, int] = {}
        self.durations: dict[tuple[str, SagaStatus], Histogram] = {}
        self._names = Labels(limits.METRIC_NAMES_MAX)

    def moved(self, note: Note, position: Position) -> None:
        """The status of a saga has changed, and that is durable."""
        state = note.state
        status = state.status
        name = self._names.of(state.definition.name)
        if note.before is None:
            self.begun[name] = self.begun.get(name, 0) + 1
        if status is saga_status.COMPENSATING:
            self.undos[name] = self.undos.get(name, 0) + 1
        elif status not in saga_status.MOVING and note.before is not status:
            durations = self.durations.get((name, status))
            if durations is None:
                durations = self.durations[name, status] = Histogram()
            durations.note(max(0.0, state.updated_at_utc_s - state.created_at_utc_s))


class CallTally:
    """Counts what became of the attempts at one service; `ended` has a number for each of OUTCOMES."""

    def __init__(self) -> None:
        self.ended: dict[tuple[str, Phase], list[int]] = {}
        self.repeated: dict[Phase, int] = {}
        self.late = 0
        self.seconds = Histogram()
        self._actions = Labels(limits.METRIC_ACTIONS_MAX)

    def note(self, call: Call, result: AttemptResult) -> None:
        """An attempt has ended, or its time was up."""
        counts = self.ended.get((call.action, call.phase)) or self._counts_of(call)
        outcome = result.outcome
        if outcome is service.DONE:
            counts[0] += 1
        elif outcome is service.UNKNOWN:
            counts[3] += 1
        else:
            counts[1 if result.permanent else 2] += 1
        self.seconds.note(result.latency_s)
        if call.attempt > 1:
            self.repeated[call.phase] = self.repeated.get(call.phase, 0) + 1

    def _counts_of(self, call: Call) -> list[int]:
        key = (self._actions.of(call.action), call.phase)
        return self.ended.setdefault(key, [0] * len(OUTCOMES))

    def by_outcome(self) -> list[int]:
        """How many attempts ended in each way, in the order of OUTCOMES."""
        return [
            sum(counts) for counts in zip([0] * len(OUTCOMES), *self.ended.values(), strict=True)
        ]
