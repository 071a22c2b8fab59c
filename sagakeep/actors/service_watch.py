"""The service watch: how the attempts at one service went in the last minute.

It remembers the tally of a minute ago and looks at the difference, so it costs nothing for each attempt.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from sagakeep.actors.breaker import BreakerState
from sagakeep.actors.gateway import Gateway
from sagakeep.alert import Severity, Trouble
from sagakeep.runtime.histogram import Histogram
from sagakeep.thresholds import Thresholds
from sagakeep.view import time_view

WINDOW_S: Final = 60.0
ATTEMPTS_MIN: Final = 20  # below it a share says nothing
LOOKS_MAX: Final = 120
SLOW_SHARE: Final = 0.95


class _Look(NamedTuple):
    at_s: float
    ended: list[int]
    seconds: list[int]


class ServiceWatch:
    """Looks at one gateway again and again; `look` returns what is wrong."""

    def __init__(self, gateway: Gateway, thresholds: Thresholds) -> None:
        self._gateway = gateway
        self._thresholds = thresholds
        self._looks: deque[_Look] = deque(maxlen=LOOKS_MAX)

    def look(self, now_s: float) -> list[Trouble]:
        tally = self._gateway.tally
        now = _Look(now_s, tally.by_outcome(), list(tally.seconds.counts))
        while len(self._looks) > 1 and self._looks[1].at_s <= now_s - WINDOW_S:
            self._looks.popleft()
        then = self._looks[0] if self._looks else now
        self._looks.append(now)
        ended = [after - before for after, before in zip(now.ended, then.ended, strict=True)]
        found = [self._breaker(), self._pause()]
        if sum(ended) >= ATTEMPTS_MIN:
            found += [self._errors(ended), self._slowness(tally.seconds.since(then.seconds))]
        return [trouble for trouble in found if trouble is not None]

    def _breaker(self) -> Trouble | None:
        gateway = self._gateway
        if gateway.throttle.breaker is BreakerState.CLOSED:
            return None
        waiting = gateway.statistics().queued
        return Trouble(
            "breaker_open",
            Severity.CRITICAL,
            f"service {gateway.name!r} counts as down; {waiting} attempts wait for it",
            "see whether the service is up; it is tried again by itself",
            gateway.name,
            waiting,
        )

    def _pause(self) -> Trouble | None:
        gateway, pause = self._gateway, self._gateway.paused
        if pause is None:
            return None
        waiting = gateway.statistics().queued
        return Trouble(
            "service_paused",
            Severity.WARNING,
            f"service {gateway.name!r} is {pause.words(time_view(pause.since_utc_s))};"
            f" {waiting} attempts wait for it",
            f"resume it when it may be called again: sagakeep service resume {gateway.name}",
            gateway.name,
            waiting,
        )

    def _errors(self, ended: list[int]) -> Trouble | None:
        _, _, not_done, unknown = ended
        share = (not_done + unknown) / sum(ended)
        if share < self._thresholds.error_share:
            return None
        name = self._gateway.name
        return Trouble(
            "service_errors",
            Severity.CRITICAL,
            f"{share:.0%} of {sum(ended)} attempts at service {name!r} in the last minute were neither"
            f" done nor refused ({unknown} unknown, {not_done} not done)",
            "see whether the service is up; its calls are made again by themselves",
            name,
            not_done + unknown,
        )

    def _slowness(self, seconds: Histogram) -> Trouble | None:
        took_s = seconds.quantile(SLOW_SHARE)
        if took_s <= self._thresholds.slow_s:
            return None
        name = self._gateway.name
        return Trouble(
            "service_slow",
            Severity.WARNING,
            f"one in twenty attempts at service {name!r} took more than"
            f" {self._thresholds.slow_s:g} s in the last minute (up to {took_s:g} s)",
            "see what the service waits for; attempts beyond its concurrency queue here",
            name,
            seconds.count,
        )
