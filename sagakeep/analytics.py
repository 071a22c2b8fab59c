"""Analytics: what many sagas have in common: how they end, how long they take, which steps are slow, which fail.

Percentiles are nearest ranks: the smallest value that so many of all do not exceed; those of calls are of times
that are cut to three digits, for to sort all of them takes three times as long. What is listed has a bound, and
what is beyond it is counted. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypedDict

from sagakeep.published import Time
from sagakeep.saga_status import COMPENSATED, FINAL, HELD, MOVING, SagaStatus
from sagakeep.service import Phase
from sagakeep.view import time_view

PERCENTILES: Final = (50, 90, 99)
DIGITS: Final = 3

Ranks = tuple[float | None, ...]  # seconds at PERCENTILES, None of nothing


def cut_us(took_us: int) -> int:
    """A time with three digits, the others 0."""
    unit = int(10 ** max(0, len(str(took_us)) - DIGITS))
    return took_us // unit * unit


class NameFigures(NamedTuple):
    """The sagas of one name; the durations are of those that completed."""

    name: str
    by_status: Mapping[SagaStatus, int]
    durations_s: Ranks

    @property
    def sagas(self) -> int:
        return sum(self.by_status.values())

    @property
    def undo_rate(self) -> float | None:
        """How many of those that are final were undone."""
        return self.share(COMPENSATED, sum(self.by_status.get(one, 0) for one in FINAL))

    def share(self, status: SagaStatus, of: int) -> float | None:
        return self.by_status.get(status, 0) / of if of else None


class CallFigures(NamedTuple):
    """One call that the sagas of a name make: a step's action, or its compensation. `calls` are those that have
    ended, whose durations are from the first attempt to the last answer."""

    name: str
    step_id: str
    phase: Phase
    service: str
    action: str
    calls: int
    attempts_mean: float
    durations_s: Ranks


class Failure(NamedTuple):
    """How many sagas have a call that was given up with this error, which is a code."""

    name: str
    step_id: str
    phase: Phase
    error: str
    sagas: int


class Analytics(NamedTuple):
    """`sagas` were looked at, the newest ones; `is_whole`: there are no others. Names with the most sagas first,
    calls with the slowest, failures with the most frequent; `left_out` are those beyond the bounds."""

    sagas: int
    is_whole: bool
    names: tuple[NameFigures, ...]
    calls: tuple[CallFigures, ...]
    failures: tuple[Failure, ...]
    left_out: tuple[int, int, int] = (0, 0, 0)  # names, calls, failures


# As it is shown


class DurationsView(TypedDict):
    """Percentiles in seconds; null where there was nothing to measure."""

    p50: float | None
    p90: float | None
    p99: float | None


class SharesView(TypedDict):
    """Of the sagas that stand still, which part has completed, was undone, was ended by force, or has
    failed and waits for an operator; null where none stands still."""

    completed: float | None
    compensated: float | None
    abandoned: float | None
    failed: float | None


class NameFiguresView(TypedDict):
    """The sagas of one name. `held` wait for an operator; `undoRate` is of those that are final; `durations` are
    of the completed ones."""

    name: str
    sagas: int
    byStatus: dict[SagaStatus, int]
    completed: int
    compensated: int
    held: int
    shares: SharesView
    undoRate: float | None
    durations: DurationsView


class CallFiguresView(TypedDict):
    """One call of one step: its `phase` is `action` or `compensation`. `durations` are from the first attempt to
    the last answer, with all waiting in between."""

    name: str
    stepID: str
    phase: Phase
    service: str
    action: str
    calls: int
    attemptsMean: float
    durations: DurationsView


class FailureView(TypedDict):
    """How many sagas gave up this call with this error, which is the name of a rule, or `other`."""

    name: str
    stepID: str
    phase: Phase
    error: str
    sagas: int


class LeftOutView(TypedDict):
    """How many there are beyond those listed."""

    names: int
    steps: int
    failures: int


class AnalyticsView(TypedDict):
    """What the newest sagas that meet the filters have in common; `isWhole` says that these are all of them."""

    since: Time | None
    until: Time | None
    sagas: int
    isWhole: bool
    names: list[NameFiguresView]
    steps: list[CallFiguresView]
    failures: list[FailureView]
    leftOut: LeftOutView


def analytics_view(
    found: Analytics, since_utc_s: float | None = None, until_utc_s: float | None = None
) -> AnalyticsView:
    """Show it."""
    names, calls, failures = found.left_out
    return {
        "since": None if since_utc_s is None else time_view(since_utc_s),
        "until": None if until_utc_s is None else time_view(until_utc_s),
        "sagas": found.sagas,
        "isWhole": found.is_whole,
        "names": [_name_view(one) for one in found.names],
        "steps": [_call_view(one) for one in found.calls],
        "failures": [_failure_view(one) for one in found.failures],
        "leftOut": {"names": names, "steps": calls, "failures": failures},
    }


def _name_view(one: NameFigures) -> NameFiguresView:
    counts = one.by_status
    still = sum(count for status, count in counts.items() if status not in MOVING)
    held = sum(counts.get(status, 0) for status in HELD)
    return {
        "name": one.name,
        "sagas": one.sagas,
        "byStatus": dict(counts),
        "completed": counts.get(SagaStatus.COMPLETED, 0),
        "compensated": counts.get(COMPENSATED, 0),
        "held": held,
        "shares": {
            "completed": one.share(SagaStatus.COMPLETED, still),
            "compensated": one.share(COMPENSATED, still),
            "abandoned": one.share(SagaStatus.ABANDONED, still),
            "failed": held / still if still else None,
        },
        "undoRate": one.undo_rate,
        "durations": _durations_view(one.durations_s),
    }


def _call_view(one: CallFigures) -> CallFiguresView:
    return {
        "name": one.name,
        "stepID": one.step_id,
        "phase": one.phase,
        "service": one.service,
        "action": one.action,
        "calls": one.calls,
        "attemptsMean": one.attempts_mean,
        "durations": _durations_view(one.durations_s),
    }


def _failure_view(one: Failure) -> FailureView:
    return {
        "name": one.name,
        "stepID": one.step_id,
        "phase": one.phase,
        "error": one.error,
        "sagas": one.sagas,
    }


def _durations_view(ranks: Ranks) -> DurationsView:
    p50, p90, p99 = ranks
    return {"p50": p50, "p90": p90, "p99": p99}
