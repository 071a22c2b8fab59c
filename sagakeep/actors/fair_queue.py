"""A fair queue: undos before actions, and among these the saga names take turns.

    compensations   order: x x x     refund: y         ->   x y x x ...
    actions         order: a a a a   invoice: b        ->   then a b a a a

A flood of one definition so delays its own sagas, and of every other at most one attempt in turn. Within a name
the first to come is the first to go.

A job that is dropped stays where it is until it is reached, and is not counted; when most of what is here is of
that kind, all of it is swept out, so that a long outage leaves nothing behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from sagakeep.actors.job import Job

SWEEP_MIN: Final = 64  # dropped jobs that are worth a sweep


class Lane:
    """Jobs by saga name, and whose turn it is. Nothing is kept for a name without jobs."""

    __slots__ = ("of_name", "turns")

    def __init__(self) -> None:
        self.of_name: dict[str, deque[Job]] = {}
        self.turns: deque[str] = deque()

    def push(self, job: Job) -> None:
        name = job.call.saga_name
        jobs = self.of_name.get(name)
        if jobs is None:
            self.of_name[name] = deque((job,))
            self.turns.append(name)
        else:
            jobs.append(job)

    def pop(self) -> Job:
        """Take the next, wanted or not."""
        name = self.turns[0]
        jobs = self.of_name[name]
        job = jobs.popleft()
        if not jobs:
            del self.of_name[name]
            self.turns.popleft()
        elif len(self.turns) > 1:
            self.turns.rotate(-1)
        return job

    def sweep(self) -> None:
        """Forget what is not wanted; the turns stay as they are."""
        for name in list(self.turns):
            wanted = deque(job for job in self.of_name.pop(name) if job.is_wanted)
            if wanted:
                self.of_name[name] = wanted
        self.turns = deque(name for name in self.turns if name in self.of_name)


class FairQueue:
    """Jobs that wait for a service. `length` counts those that are wanted; `on_drop` is called when one no
    longer is."""

    def __init__(self, on_drop: Callable[[], None] = lambda: None) -> None:
        self.length = 0
        self._undos = Lane()
        self._actions = Lane()
        self._is_turn_of_undos = True
        self._dropped = 0
        self._on_drop = on_drop

    def push(self, job: Job) -> None:
        """Let a job wait here."""
        lane = self._undos if job.call.phase == "compensation" else self._actions
        lane.push(job)
        job.queue = self
        self.length += 1

    def pop(self) -> Job:
        """Take the next job that is wanted; `length` says that there is one."""
        return self._pop(self._undos, self._actions)

    def pop_probe(self) -> Job:
        """Take a job to try a service with, undos and actions by turns: a kind that always fails keeps nobody
        from finding out that the service is well."""
        first, other = self._undos, self._actions
        if not self._is_turn_of_undos:
            first, other = other, first
        self._is_turn_of_undos = not self._is_turn_of_undos
        return self._pop(first, other)

    def dropped(self) -> None:
        """A job that waits here is no longer wanted."""
        self.length -= 1
        self._dropped += 1
        if self._dropped > SWEEP_MIN and self._dropped > self.length:
            self._undos.sweep()
            self._actions.sweep()
            self._dropped = 0
        self._on_drop()

    def _pop(self, first: Lane, other: Lane) -> Job:
        while True:
            job = (first if first.turns else other).pop()
            if job.is_wanted:
                job.queue = None
                self.length -= 1
                return job
            self._dropped -= 1
