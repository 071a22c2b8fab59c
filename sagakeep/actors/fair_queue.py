"""A fair queue: undos before actions, and among these the saga names take turns.

    compensations   order: x x x     refund: y         ->   x y x x ...
    actions         order: a a a a   invoice: b        ->   then a b a a a

A flood of one definition so delays its own sagas, and of every other at most one attempt in turn. Within a name
the first to come is the first to go.

Whoever is far behind in the line of its name may leave a place there instead of its job, and sleep:

    order:   a a a a ... a | z z z z z z z z        a: a job, its saga is awake     z: a place, its saga sleeps
             <--- ahead -->  ^ is called when it comes so near; its job then takes the place

So the order is that of arrival, whoever sleeps. A place whose job is not back when its turn comes keeps the
turn; the other names go on.

A job that is dropped stays where it is until it is reached, and is not counted; when most of what is here is of
that kind, all of it is swept out, so that a long outage leaves nothing behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from sagakeep import limits
from sagakeep.actors.job import Job, Place
from sagakeep.effects import RunCall

SWEEP_MIN: Final = 64  # dropped jobs that are worth a sweep
SEEK_MAX: Final = 256  # a job is looked for among so many that came last: 10 us


class Lane:
    """Jobs and places by saga name, and whose turn it is. Nothing is kept for a name that has none.

    `call` is called with each place that is among the first `ahead` of its name.
    """

    __slots__ = ("_ahead", "_call", "dropped", "of_name", "turns")

    def __init__(self, ahead: int, call: Callable[[Place], None]) -> None:
        self.of_name: dict[str, deque[Job | Place]] = {}
        self.turns: deque[str] = deque()
        self.dropped = 0  # that were reached, since the queue asked
        self._ahead = ahead
        self._call = call

    def push(self, job: Job) -> None:
        name = job.call.saga_name
        line = self.of_name.get(name)
        if line is None:
            self.of_name[name] = deque((job,))
            self.turns.append(name)
        else:
            line.append(job)

    def pop(self) -> Job | None:
        """Take the next that is wanted; None when every name waits for a saga to wake."""
        for _ in range(len(self.turns)):
            name = self.turns[0]
            line = self.of_name[name]
            while line and not line[0].is_wanted:
                self._shift(line)
                self.dropped += 1
            if not line:
                del self.of_name[name]
                self.turns.popleft()
                continue
            job = _job_at(line)
            if job is None:
                self._call_at(line, 0)
                self.turns.rotate(-1)
                continue
            self._shift(line)
            if not line:
                del self.of_name[name]
                self.turns.popleft()
            elif len(self.turns) > 1:
                self.turns.rotate(-1)
            return job
        return None

    def index_of(self, job: Job) -> int | None:
        """Where in its line the job stands, if it is among the last and not among the first."""
        line = self.of_name[job.call.saga_name]
        last = islice(reversed(line), max(0, min(SEEK_MAX, len(line) - self._ahead)))
        for back, item in enumerate(last, start=1):
            if item is job:
                return len(line) - back
        return None

    def sweep(self) -> None:
        """Forget what is not wanted; the turns stay as they are."""
        for name in list(self.turns):
            wanted = deque(item for item in self.of_name.pop(name) if item.is_wanted)
            if wanted:
                self.of_name[name] = wanted
                for item in islice(wanted, self._ahead):
                    if isinstance(item, Place):
                        self._call(item)
        self.turns = deque(name for name in self.turns if name in self.of_name)

    def _shift(self, line: deque[Job | Place]) -> None:
        line.popleft()
        if len(line) >= self._ahead:
            self._call_at(line, self._ahead - 1)

    def _call_at(self, line: deque[Job | Place], index: int) -> None:
        item = line[index]
        if isinstance(item, Place):
            self._call(item)


class FairQueue:
    """Jobs that wait for a service. `length` counts those that are wanted, `asleep_count` those of them that only
    left their places; `on_drop` is called when one is wanted no longer.

    `wake` is called with the id of a saga that sleeps and whose turn is near; `is_slow` says whether any may.
    """

    def __init__(
        self,
        on_drop: Callable[[], None] = lambda: None,
        wake: Callable[[str], None] = lambda _saga_id: None,
        is_slow: Callable[[], bool] = lambda: False,
        ahead: int = limits.QUEUE_AHEAD,
    ) -> None:
        self.length = 0
        self.asleep_count = 0
        self._ahead = ahead
        self._undos = Lane(ahead, self._call)
        self._actions = Lane(ahead, self._call)
        self._is_turn_of_undos = True
        self._dropped = 0
        self._on_drop = on_drop
        self._wake = wake
        self._is_slow = is_slow
        self._places: dict[str, list[Place]] = {}  # of those that sleep, by saga

    def push(self, job: Job) -> None:
        """Let a job wait here."""
        self._lane_of(job).push(job)
        job.queue = self
        self.length += 1

    def pop(self) -> Job | None:
        """Take the next job that is wanted; None when there is none, or their sagas have yet to wake."""
        return self._pop(self._undos, self._actions)

    def pop_probe(self) -> Job | None:
        """Take a job to try a service with, undos and actions by turns: a kind that always fails keeps nobody
        from finding out that the service is well."""
        first, other = self._undos, self._actions
        if not self._is_turn_of_undos:
            first, other = other, first
        job = self._pop(first, other)
        if job is not None:
            self._is_turn_of_undos = not self._is_turn_of_undos
        return job

    def dropped(self, job: Job) -> None:
        """A job that waits here is no longer wanted."""
        if job.place is not None:
            job.place.forget()
            job.place = None
        self._leave(1)

    # Sleep

    def may_sleep(self, job: Job) -> bool:
        """Is the job so far behind that its saga need not stay awake for it?"""
        if self.length <= self._ahead or not self._is_slow():
            return False
        if job.place is not None:
            return not job.place.is_called
        return self._lane_of(job).index_of(job) is not None

    def leave_place(self, job: Job) -> None:
        """Keep the place of a job that `may_sleep`, and not the job."""
        place, job.place = job.place, None
        if place is None:
            lane = self._lane_of(job)
            index = lane.index_of(job)
            assert index is not None, "it may sleep"
            place = Place(job.call.saga_id, job.effect, job.repeated)
            lane.of_name[job.call.saga_name][index] = place
        place.job = None
        job.queue, job.is_wanted = None, False
        self._places.setdefault(place.saga_id, []).append(place)
        self.asleep_count += 1

    def take_place(self, job: Job) -> bool:
        """Give a job the place that it left, if it did: its saga is awake again."""
        for place in self._places.get(job.call.saga_id, ()):
            if place.effect == job.effect:
                self._remove(place)
                place.job, job.place, job.queue = job, place, self
                job.repeated = job.repeated or place.repeated
                return True
        return False

    def places(self, saga_id: str) -> Iterator[RunCall]:
        """What a saga waits for here in its sleep."""
        return (place.effect for place in self._places.get(saga_id, ()))

    def forget(self, saga_id: str) -> None:
        """A saga will not come back for its places."""
        places = list(self._places.get(saga_id, ()))
        for place in places:
            self._remove(place)
            place.forget()
        if places:
            self._leave(len(places))

    def _remove(self, place: Place) -> None:
        places = self._places[place.saga_id]
        places.remove(place)
        if not places:
            del self._places[place.saga_id]
        self.asleep_count -= 1

    def _call(self, place: Place) -> None:
        if not place.is_called and place.is_wanted:
            place.is_called = True
            if place.job is None:
                self._wake(place.saga_id)

    def _leave(self, count: int) -> None:
        self.length -= count
        self._dropped += count
        if self._dropped > SWEEP_MIN and self._dropped > self.length:
            self._undos.sweep()
            self._actions.sweep()
            self._dropped = 0
        self._on_drop()

    def _lane_of(self, job: Job) -> Lane:
        return self._undos if job.call.phase == "compensation" else self._actions

    def _pop(self, first: Lane, other: Lane) -> Job | None:
        job = first.pop() or other.pop()
        self._dropped -= first.dropped + other.dropped
        first.dropped = other.dropped = 0
        if job is not None:
            job.queue = job.place = None
            self.length -= 1
        return job


def _job_at(line: deque[Job | Place]) -> Job | None:
    """The job at the head of a line; None while it is not back."""
    head = line[0]
    return head.job if isinstance(head, Place) else head
