"""The gateway of one service: the only way to call it.

    submit -> fair queue -> throttle -> a worker for each attempt in flight, at most `concurrency` -> outcome
                               ^                                                                       |
                               '---------------------- how the service is -----------------------------'

Attempts beyond the bound wait in a fair queue, undos first: a service that is short of room spends it on ending
sagas. Sagas that are far behind in it sleep, and are woken in time. There they also wait while the throttle lets
nothing begin: the service is down, asked us to come later, or has had what it may have in a second; and while an
operator has paused the service. An attempt that waits has not begun: its timeout does not run, and it is none of
its saga's retries.

What is submitted between `hold_back` and `release` (the calls of recovered sagas) joins the queue at a rate that
begins small, so that ten thousand of them do not stampede a service that may be just starting itself; new
sagas are not slowed by it. Whoever is far behind sleeps there, too.

An attempt is given its `timeout_s`; then the saga is told that the outcome is unknown. Where the caller keeps
listening (`late_reply_s`), an answer that still comes is delivered as a late reply.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import trio

from sagakeep import limits
from sagakeep.actors.breaker import BreakerState
from sagakeep.actors.fair_queue import FairQueue
from sagakeep.actors.job import Job, Undelivered
from sagakeep.actors.ramp import PULSE_S, Ramp
from sagakeep.actors.service_spec import ServiceSpec
from sagakeep.actors.tally import CallTally
from sagakeep.actors.throttle import Throttle
from sagakeep.actors.tracing import Tracing
from sagakeep.actors.worker import Worker
from sagakeep.classification import QUEUE_FULL
from sagakeep.effects import RunCall
from sagakeep.messages import Message
from sagakeep.runtime.mailbox import Mailbox
from sagakeep.runtime.timers import NEVER_S, Alarm, Timers
from sagakeep.service import AttemptResult, Call, Outcome
from sagakeep.service_pause import ServicePause

_log = logging.getLogger(__name__)

IDLE_WORKERS_MAX = 64


class GatewayStatistics(NamedTuple):
    """`attempts` were begun since the start."""

    in_flight: int
    queued: int
    attempts: int


class Gateway:
    """Calls one service.

    `draw` gives chances in [0, 1) for the jitter of what follows; `undelivered` takes the news for a saga whose
    actor has ended; `crowded` collects the names of those that were crowded, for admission to look at. `wake` is
    called with the id of a saga that sleeps while it waits here, when its turn is `queue_ahead` attempts away.
    `tracing` is told of every attempt, if there is one.
    """

    def __init__(
        self,
        name: str,
        spec: ServiceSpec,
        timers: Timers,
        draw: Callable[[], float],
        undelivered: Undelivered,
        crowded: set[str] | None = None,
        wake: Callable[[str], None] = lambda _saga_id: None,
        queue_ahead: int = limits.QUEUE_AHEAD,
        tracing: Tracing | None = None,
    ) -> None:
        self.name = name
        self.tracing = tracing
        self.caller = spec.caller
        self.timers = timers
        self.draw = draw
        self.attempts = 0
        self.tally = CallTally()
        self.throttle = Throttle(spec.rules, timers.now_s())
        self.spec = spec
        self.queue_max = spec.queue_max or limits.SERVICE_QUEUE_CROWDED
        self._crowded = set[str]() if crowded is None else crowded
        self._concurrency = spec.concurrency
        self._undelivered = undelivered
        self.queue = FairQueue(self._dropped, wake, self._is_slow, queue_ahead)
        self._alarm = Alarm(timers, self._unblock)
        self._is_blocked = False  # by the throttle, until the alarm or an outcome
        self._probe: Job | None = None
        self._held_back = FairQueue(wake=wake, is_slow=lambda: True, ahead=queue_ahead)
        self._is_holding_back = False
        self._released = trio.Event()
        self._idle: list[trio.lowlevel.Task] = []
        self._workers = 0
        self._is_one_coming = False
        self._lingering = 0
        self._is_draining = False
        self.paused: ServicePause | None = None  # by an operator: nothing begins
        self._fewer_in_flight = trio.Event()
        self._nursery: trio.Nursery | None = None

    def statistics(self) -> GatewayStatistics:
        in_flight = self._workers - len(self._idle)
        return GatewayStatistics(in_flight, self._queued(), self.attempts)

    @property
    def is_crowded(self) -> bool:
        """Is its queue so long that it should not get any new sagas?"""
        return self._queued() >= self.queue_max

    def submit(
        self, call: Call, effect: RunCall, mailbox: Mailbox[Message], repeated: bool = False
    ) -> Job:
        """Take on an attempt; its outcome goes to the mailbox as AttemptEnded, `repeated` as given."""
        job = Job(call, effect, mailbox, self._undelivered, repeated)
        if self._take_place(job):
            return job
        queued = self.queue.length + self._held_back.length
        if queued >= self.queue_max and self._is_too_much(job, queued):
            error = f"{limits.SERVICE_QUEUE_MAX} attempts wait for service {self.name!r} already"
            job.report(AttemptResult(Outcome.NOT_DONE, error=error, rule=QUEUE_FULL), self.draw())
        elif self._is_holding_back:
            self._held_back.push(job)
        else:
            self._enqueue(job)
        return job

    def _take_place(self, job: Job) -> bool:
        """Give a job the place that it left in a queue, if it did."""
        if self.queue.asleep_count and self.queue.take_place(job):
            self._employ_if_free()
            return True
        return self._held_back.asleep_count > 0 and self._held_back.take_place(job)

    def places(self, saga_id: str) -> tuple[RunCall, ...]:
        """What a saga that sleeps waits for here."""
        return (*self.queue.places(saga_id), *self._held_back.places(saga_id))

    @property
    def asleep_count(self) -> int:
        """How many attempts of sagas that sleep wait here."""
        return self.queue.asleep_count + self._held_back.asleep_count

    def forget(self, saga_id: str) -> None:
        """A saga that sleeps will not come back for its places."""
        self.queue.forget(saga_id)
        self._held_back.forget(saga_id)

    def hold_back(self) -> None:
        """Keep what is submitted from now on, until `release`."""
        self._is_holding_back = True

    def release(self) -> None:
        """Begin what was held back, at no more than RECOVERED_CALLS_PER_S; what comes now is not held back."""
        self._is_holding_back = False
        self._released.set()

    def pause(self, pause: ServicePause) -> None:
        """Begin nothing more until `resume`; what is in flight ends, what is submitted waits."""
        self.paused = pause

    def resume(self) -> None:
        """Begin again what waits, as ever."""
        self.paused = None
        self._unblock()

    async def drain(self) -> None:
        """Begin nothing more, and wait until what is in flight has ended or timed out."""
        self._is_draining = True
        self._alarm.drop()
        while self.statistics().in_flight:
            self._fewer_in_flight = trio.Event()
            await self._fewer_in_flight.wait()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await self._released.wait()
            await self._release_gradually()
            await trio.sleep_forever()

    async def aclose(self) -> None:
        """Close the way to the service; after `run` has ended."""
        await self.caller.aclose()

    def _queued(self) -> int:
        return self.queue.length + self._held_back.length

    def _is_too_much(self, job: Job, queued: int) -> bool:
        """Is there no room for this one? Undos always find some: they are what makes room, and their number is
        that of the live sagas' steps."""
        self._crowded.add(self.name)
        return queued >= limits.SERVICE_QUEUE_MAX and job.call.phase != "compensation"

    def _enqueue(self, job: Job) -> None:
        self.queue.push(job)
        self._employ_if_free()

    def _is_slow(self) -> bool:
        if self.paused is not None or not self.throttle.is_free:
            return True
        return self.queue.length > limits.QUEUE_AWAKE_MAX

    def _employ_if_free(self) -> None:
        if not (self._is_one_coming or self._is_blocked or self.paused is not None):
            self._employ()

    async def _release_gradually(self) -> None:
        per_s_max = limits.RECOVERED_CALLS_PER_S
        per_s = min(self.spec.ramp_calls_per_s or per_s_max, per_s_max)
        ramp = Ramp(per_s, per_s_max, limits.RAMP_DOUBLES_EVERY_S, self.timers.now_s())
        while self._held_back.length:
            now_s = self.timers.now_s()
            at_s = ramp.ready_at_s(now_s)
            if at_s > now_s:
                await trio.sleep_until(at_s)
            elif (job := self._held_back.pop()) is not None:
                ramp.take(now_s)
                self._enqueue(job)
                job.nudge()
            else:
                await trio.sleep(PULSE_S)  # they were called, and are waking

    # What the throttle says

    def learn(self, job: Job, result: AttemptResult) -> None:
        """An attempt has ended, or timed out: a sign of how the service is."""
        is_probe = job is self._probe
        if is_probe:
            self._probe = None
        before = self.throttle.breaker
        self.throttle.learn(result, job.call.saga_id, self.timers.now_s(), is_probe=is_probe)
        if self.throttle.breaker is not before:
            self._tell(before, result)
        if self._is_blocked:
            self._unblock()

    def _next_throttled(self) -> Job | None:
        """What may begin now; None when nothing may, until the alarm, an outcome, or a saga that wakes."""
        now_s = self.timers.now_s()
        ready_at_s = self.throttle.ready_at_s(now_s)
        if ready_at_s > now_s:
            self._is_blocked = True
            if ready_at_s < NEVER_S:
                self._alarm.set_at(ready_at_s)
            return None
        is_closed = self.throttle.breaker is BreakerState.CLOSED
        job = self.queue.pop() if is_closed else self.queue.pop_probe()
        if job is not None and self.throttle.begin(now_s):
            self._probe = job
        return job

    def _unblock(self) -> None:
        """Look again whether something may begin."""
        self._is_blocked = False
        self._alarm.drop()
        if self.queue.length:
            self._employ_if_free()

    def _dropped(self) -> None:
        if not self.queue.length:
            self._is_blocked = False
            self._alarm.drop()  # who waits for nothing leaves nothing behind

    def _tell(self, before: BreakerState, result: AttemptResult) -> None:
        match before, self.throttle.breaker:
            case BreakerState.CLOSED, _:
                text = "service %s counts as down: %d attempts in a row failed, the last with: %s"
                _log.warning(
                    text,
                    self.name,
                    self.spec.breaker_failures,
                    result.error,
                    extra={"service": self.name},
                )
            case _, BreakerState.CLOSED:
                text = "service %s is back, %d attempts wait for it"
                _log.warning(text, self.name, self._queued(), extra={"service": self.name})

    # Workers

    def next_job(self) -> Job | None:
        """What a worker is to do next, None when nothing waits or is to be begun."""
        if self._is_draining or self.paused is not None or not self.queue.length:
            return None
        job = self.queue.pop() if self.throttle.is_free else self._next_throttled()
        if job is not None and self.queue.length and not self._is_one_coming:
            self._employ()  # this attempt may take its time
        return job

    async def wait_for_job(self) -> bool:
        """Wait until there may be one; False for a worker that is no longer needed."""
        if len(self._idle) >= IDLE_WORKERS_MAX:
            return False
        task = trio.lowlevel.current_task()
        self._idle.append(task)
        self._fewer_in_flight.set()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self._is_one_coming = False
        return True

    def may_linger(self) -> bool:
        """May one more worker listen on for a late reply, beside those that work?"""
        return self.caller.late_reply_s > 0 and self._lingering < self._concurrency

    def replace(self) -> None:
        """A worker listens on: its place is free."""
        self._lingering += 1
        self._workers -= 1
        if self.queue.length:
            self._employ_if_free()

    def _employ(self) -> None:
        """See to it that a worker comes. One at a time, until it has come: it may get everything done without
        waiting once."""
        if self._idle:
            self._is_one_coming = True
            trio.lowlevel.reschedule(self._idle.pop())
        elif self._workers < self._concurrency:
            assert self._nursery is not None, "the gateway runs before it is used"
            self._is_one_coming = True
            self._workers += 1
            self._nursery.start_soon(self._run_worker, name=f"gateway {self.name}")

    async def _run_worker(self) -> None:
        self._is_one_coming = False
        worker = Worker(self)
        try:
            await worker.run()
        finally:
            worker.end()
            if worker.is_replaced:
                self._lingering -= 1
            else:
                self._workers -= 1
            self._fewer_in_flight.set()
