"""The circuit breaker of one service: when it fails, nobody calls it until a probe has got an answer.

             failures in a row                    time for a probe
    CLOSED ---------------------> OPEN -----------------------------> HALF_OPEN
       ^                           ^                                   |     |
       |                           '---------- the probe fails --------'     |
       '-------------------------------- the probe is answered --------------'

An attempt is a sign of how its service is, and only that counts here: a service that refuses an order is well.
A probe is the attempt that would have been next, so it is a saga's own; one at a time.

Failures count when they are in a row and of more than one saga: one saga whose call always fails, and is made
again and again, is no reason to keep the others from the service.

Pure: the time is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sagakeep.runtime.timers import NEVER_S
from sagakeep.service import NOT_DONE, UNKNOWN, AttemptResult


class BreakerState(StrEnum):
    """Whether a service is called: always, not at all, or by a probe that is under way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Sign(StrEnum):
    """What an attempt says of its service, whatever became of the attempt."""

    ANSWERED = "answered"  # done, or refused: it is there
    BUSY = "busy"  # it is there, and asks us to come later
    FAILED = "failed"  # no answer, none that can be understood, or nobody there


def sign_of(result: AttemptResult) -> Sign:
    """Read the sign in what an attempt taught us."""
    if result.outcome is UNKNOWN or result.is_unreachable:
        return Sign.FAILED
    if result.outcome is NOT_DONE and not result.permanent and result.retry_after_s is not None:
        return Sign.BUSY
    return Sign.ANSWERED


class _Event(StrEnum):
    TRIPPED = "tripped"  # one failure too many
    PROBE_BEGAN = "probe began"
    PROBE_FAILED = "probe failed"
    PROBE_ANSWERED = "probe answered"


_TRANSITIONS: Final[Mapping[tuple[BreakerState, _Event], BreakerState]] = {
    (BreakerState.CLOSED, _Event.TRIPPED): BreakerState.OPEN,
    (BreakerState.OPEN, _Event.PROBE_BEGAN): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, _Event.PROBE_FAILED): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, _Event.PROBE_ANSWERED): BreakerState.CLOSED,
}


class Breaker:
    """Opens after `failures_max` failures in a row, 0 for never; then a probe every `open_s` seconds.

    `failures` counts those in a row, `since_s` is when the state began.
    """

    def __init__(self, failures_max: int, open_s: float, now_s: float) -> None:
        self.state = BreakerState.CLOSED
        self.since_s = now_s
        self.failures = 0
        self._failures_max = failures_max
        self._open_s = open_s
        self._probe_at_s = now_s
        self._first_saga_id = ""  # of those whose attempts failed
        self._is_of_several = False

    @property
    def ready_at_s(self) -> float:
        """The earliest time of the next attempt, for ever while a probe is under way."""
        match self.state:
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.OPEN:
                return self._probe_at_s
            case BreakerState.HALF_OPEN:
                return NEVER_S

    def begin(self, now_s: float) -> bool:
        """An attempt begins, at `ready_at_s` or later; is it a probe?"""
        if self.state is BreakerState.CLOSED:
            return False
        self._move(_Event.PROBE_BEGAN, now_s)
        return True

    def learn(self, sign: Sign, saga_id: str, now_s: float, *, is_probe: bool) -> None:
        """An attempt has ended."""
        if is_probe:
            self._probe_ended(sign, now_s)
        elif self.state is BreakerState.CLOSED:
            self._count(sign, saga_id, now_s)
        elif self.state is BreakerState.OPEN and sign is Sign.ANSWERED:
            self._probe_at_s = now_s  # begun before it opened: it may well be there again

    def _count(self, sign: Sign, saga_id: str, now_s: float) -> None:
        if sign is not Sign.FAILED:
            self.failures = 0
            return
        if not self.failures:
            self._first_saga_id, self._is_of_several = saga_id, False
        self.failures += 1
        self._is_of_several = self._is_of_several or saga_id != self._first_saga_id
        if self._failures_max and self.failures >= self._failures_max and self._is_of_several:
            self._probe_at_s = now_s + self._open_s
            self._move(_Event.TRIPPED, now_s)

    def _probe_ended(self, sign: Sign, now_s: float) -> None:
        if sign is Sign.FAILED:
            self._probe_at_s = now_s + self._open_s
            self._move(_Event.PROBE_FAILED, now_s)
        else:
            self.failures = 0
            self._move(_Event.PROBE_ANSWERED, now_s)

    def _move(self, event: _Event, now_s: float) -> None:
        self.state = _TRANSITIONS[self.state, event]
        self.since_s = now_s
