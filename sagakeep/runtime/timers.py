"""Timers: one task that wakes many waiters, at a few microseconds each to set and to drop.

    far    by whole second of trio's clock: {second: {timer: None}}     set and dropped in O(1)
    near   a heap of what falls due within the current second or two

A million sagas that each have a deadline cost a dictionary entry each, and no task. Most timers are dropped
long before they are due (a deadline that was met), which a heap alone would keep until then.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final

import msgspec
import trio

NEVER_S: Final = float("inf")
MOVED_BETWEEN_CHECKPOINTS: Final = 1_000  # a microsecond each
DROPPED_MIN: Final = 64  # timers of one second that are worth making it smaller
FIRED_BETWEEN_CHECKPOINTS: Final = 100  # tens of microseconds each, at worst


class _Second(dict["Timer", None]):
    """The timers of one second, in order of setting.

    A dictionary never gives room back by itself: with a thousand sagas a second, each with a deadline of an hour
    that it meets, the seconds of the hour to come would hold hundreds of megabytes for nothing.
    """

    __slots__ = ("_dropped",)

    def __init__(self) -> None:
        self._dropped = 0

    def drop(self, timer: Timer) -> None:
        del self[timer]
        self._dropped += 1
        if self._dropped > max(DROPPED_MIN, len(self)):
            kept, self._dropped = dict(self), 0
            self.clear()
            self.update(kept)


class Timer(msgspec.Struct, eq=False):
    """A pending call of `action`; `drop` forgets it. Times are of trio's clock, seconds."""

    due_s: float
    action: Callable[[], None] | None
    _second: _Second | None = None

    def drop(self) -> None:
        """Forget it; may be repeated, also after it was due."""
        self.action = None
        if self._second is not None:
            self._second.drop(self)
            self._second = None


class Timers:
    """All timers of a process. `run` is its task; actions must be quick and must not raise."""

    def __init__(self) -> None:
        self.now_s: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self._far: dict[int, _Second] = {}
        self._seconds: list[int] = []  # heap of the keys of _far
        self._coming: deque[Timer] = deque()  # on the way from far to near
        self._near: list[tuple[float, int, Timer]] = []
        self._ties = count()
        self._near_until_s = 0
        self._changed = trio.Event()
        self._sleeps_until_s = NEVER_S

    def set_after(self, delay_s: float, action: Callable[[], None]) -> Timer:
        """Call `action` once, after the delay; at once (but from the task) when it is 0 or less."""
        return self.set_at(self.now_s() + max(0.0, delay_s), action)

    def set_at(self, due_s: float, action: Callable[[], None]) -> Timer:
        """Call `action` once, at a time of trio's clock; at once (but from the task) when that has passed."""
        timer = Timer(due_s, action)
        second = self._far.get(int(due_s))
        if second is not None:
            second[timer] = None
            timer._second = second
        else:
            self._place(timer)
        if due_s < self._sleeps_until_s:
            self._changed.set()
        return timer

    def _place(self, timer: Timer) -> None:
        second = int(timer.due_s)
        if second < self._near_until_s:
            heapq.heappush(self._near, (timer.due_s, next(self._ties), timer))
            return
        timer._second = self._far[second] = _Second()
        timer._second[timer] = None
        heapq.heappush(self._seconds, second)

    def __len__(self) -> int:
        coming = sum(timer.action is not None for timer in self._coming)
        return len(self._near) + coming + sum(map(len, self._far.values()))

    def behind_s(self) -> float:
        """How late what is due is called: 0 unless much is due at once, as when a suspended machine goes on."""
        if self._coming:
            return NEVER_S
        return max(0.0, self.now_s() - self._next_due_s())

    async def run(self) -> None:
        """Call what is due, for ever."""
        while True:
            while self._fire_due():
                await trio.lowlevel.checkpoint()
            self._sleeps_until_s = self._next_due_s()
            with trio.CancelScope(deadline=self._sleeps_until_s):
                await self._changed.wait()
            self._changed = trio.Event()

    def _fire_due(self) -> bool:
        """Call what is due, at most FIRED_BETWEEN_CHECKPOINTS; is there more?"""
        now_s = self.now_s()
        self._near_until_s = max(self._near_until_s, int(now_s) + 1)
        if self._come_near():
            return True
        for _ in range(FIRED_BETWEEN_CHECKPOINTS):
            if not self._near or self._near[0][0] > now_s:
                return False
            action = heapq.heappop(self._near)[2].action
            if action is not None:
                action()
        return True

    def _come_near(self) -> bool:
        """Move what is far and due soon to the near, at most MOVED_BETWEEN_CHECKPOINTS; is there more?"""
        for _ in range(MOVED_BETWEEN_CHECKPOINTS):
            if self._coming:
                timer = self._coming.popleft()
                if timer.action is not None:
                    timer._second = None
                    heapq.heappush(self._near, (timer.due_s, next(self._ties), timer))
            elif self._seconds and self._seconds[0] < self._near_until_s:
                self._coming.extend(self._far.pop(heapq.heappop(self._seconds)))
            else:
                return False
        return True

    def _next_due_s(self) -> float:
        near_s = self._near[0][0] if self._near else NEVER_S
        return min(near_s, self._seconds[0] if self._seconds else NEVER_S)


class Alarm:
    """One timer for an owner that sets it often and later each time: a time that is later costs nothing to set.

    What is set in the timers may so be earlier than what is wanted; it is then set again when it is due.
    """

    def __init__(self, timers: Timers, action: Callable[[], None]) -> None:
        self._timers = timers
        self._action = action
        self._due_s = NEVER_S
        self._timer: Timer | None = None

    def set_at(self, due_s: float) -> None:
        """Call the action once, at this time of trio's clock and at no other."""
        self._due_s = due_s
        if self._timer is None or due_s < self._timer.due_s:
            self._set()

    def clear(self) -> None:
        """Do not call the action."""
        self._due_s = NEVER_S

    def drop(self) -> None:
        """Do not call the action, and leave nothing in the timers."""
        self.clear()
        if self._timer is not None:
            self._timer.drop()
            self._timer = None

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.drop()
        self._timer = self._timers.set_at(self._due_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._due_s <= self._timers.now_s():
            self.clear()
            self._action()
        elif self._due_s < NEVER_S:
            self._set()
