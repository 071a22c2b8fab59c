"""Alerts: what a person should know now, and what counts as such. Pure: no clock, no I/O.

A rule looks at one thing and has one alert for each subject at most (a service, or "" for the whole process), so
however many sagas are in trouble, their number is in one alert and the first of them are named.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from sagakeep.effects import RunCall, outstanding
from sagakeep.state import SagaState

SAGAS_NAMED_MAX: Final = 10  # in one alert


class Severity(StrEnum):
    CRITICAL = "critical"  # somebody should get up
    WARNING = "warning"  # somebody should look in the morning


class Trouble(msgspec.Struct, frozen=True):
    """What a rule has found, now: `summary` says what is wrong, `advice` what to do."""

    rule: str
    severity: Severity
    summary: str
    advice: str
    subject: str = ""
    count: int = 0
    sagas: tuple[str, ...] = ()


class Alert(msgspec.Struct, frozen=True):
    """A trouble and since when it is known, UTC seconds; `number` tells the alerts of a process apart."""

    trouble: Trouble
    since_utc_s: float
    number: int


def count_of(sagas: int) -> str:
    """Begin a sentence about so many sagas."""
    return "1 saga is" if sagas == 1 else f"{sagas} sagas are"


def due_utc_s(state: SagaState) -> float:
    """By when something must have happened to a saga that is not held, whatever its services do; 0 for one that
    is paused.

    An attempt ends with its timeout, counted from the last thing that happened, which is never too early.
    """
    if state.paused is not None:
        return 0.0
    due = state.updated_at_utc_s
    for effect in outstanding(state):
        if isinstance(effect, RunCall):
            begins = max(state.updated_at_utc_s, effect.not_before_utc_s)
            due = max(due, begins + state.step(effect.step_id).timeout_s)
        else:
            due = max(due, effect.at_utc_s)
    return due
