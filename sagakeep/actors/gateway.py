"""The gateway of one service: the only way to call it.

    submit -> compensations --.
              actions --------+--> a worker per attempt in flight, at most `concurrency` --> outcome to the saga

Attempts beyond the bound wait in two queues, undos first: a service that is short of room spends it on ending
sagas. What is submitted between `hold_back` and `release` (the calls of recovered sagas) joins those queues at
a bounded rate, so that ten thousand of them do not stampede a service that may be just starting itself; new
sagas are not slowed by it.

An attempt is given its `timeout_s`; then the saga is told that the outcome is unknown. Where the caller keeps
listening (`late_reply_s`), an answer that still comes is delivered as a late reply.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import trio

from sagakeep import limits
from sagakeep.actors.tally import CallTally
from sagakeep.effects import RunCall
from sagakeep.messages import AttemptEnded, Message
from sagakeep.runtime.mailbox import Mailbox
from sagakeep.runtime.timers import Alarm, Timers
from sagakeep.service import AttemptResult, Call, Caller, Outcome

_log = logging.getLogger(__name__)

IDLE_WORKERS_MAX = 64
JOBS_BETWEEN_CHECKPOINTS = 64
RELEASE_EVERY_S = 0.02


Undelivered = Callable[[str, AttemptEnded], None]


class ServiceSpec(NamedTuple):
    """How to reach a service, and how many attempts it may have in flight."""

    caller: Caller
    concurrency: int = limits.SERVICE_CONCURRENCY


class Job(msgspec.Struct, eq=False):
    """One attempt on its way. `drop` tells that nobody wants it any more: it is not begun, but if it was, it
    settles."""

    call: Call
    _effect: RunCall
    _mailbox: Mailbox[Message]
    _undelivered: Undelivered
    _repeated: bool = False
    is_wanted: bool = True
    is_reported: bool = False

    def drop(self) -> None:
        self.is_wanted = False

    def report(self, result: AttemptResult, draw: float) -> None:
        """Tell the saga; the second report is a late reply."""
        effect = self._effect
        late, self.is_reported = self.is_reported, True
        news = AttemptEnded(
            effect.step_id,
            effect.phase,
            effect.epoch,
            effect.attempt,
            result,
            draw,
            late,
            self._repeated,
        )
        if not self._mailbox.tell_control(news):
            self._undelivered(self.call.saga_id, news)


class GatewayStatistics(NamedTuple):
    """`attempts` were begun since the start."""

    in_flight: int
    queued: int
    attempts: int


class Gateway:
    """Calls one service.

    `draw` gives chances in [0, 1) for the jitter of what follows; `undelivered` takes the news for a saga whose
    actor has ended.
    """

    def __init__(
        self,
        name: str,
        spec: ServiceSpec,
        timers: Timers,
        draw: Callable[[], float],
        undelivered: Undelivered,
    ) -> None:
        self.name = name
        self.caller = spec.caller
        self.timers = timers
        self.draw = draw
        self.attempts = 0
        self.tally = CallTally()
        self._concurrency = spec.concurrency
        self._undelivered = undelivered
        self._actions: deque[Job] = deque()
        self._compensations: deque[Job] = deque()
        self._held_back: deque[Job] = deque()
        self._is_holding_back = False
        self._released = trio.Event()
        self._idle: list[trio.lowlevel.Task] = []
        self._workers = 0
        self._is_one_coming = False
        self._lingering = 0
        self._is_draining = False
        self._fewer_in_flight = trio.Event()
        self._nursery: trio.Nursery | None = None

    def statistics(self) -> GatewayStatistics:
        in_flight = self._workers - len(self._idle)
        return GatewayStatistics(in_flight, self._queued(), self.attempts)

    def submit(
        self, call: Call, effect: RunCall, mailbox: Mailbox[Message], repeated: bool = False
    ) -> Job:
        """Take on an attempt; its outcome goes to the mailbox as AttemptEnded, `repeated` as given."""
        job = Job(call, effect, mailbox, self._undelivered, repeated)
        if self._queued() >= limits.SERVICE_QUEUE_MAX:
            error = f"{limits.SERVICE_QUEUE_MAX} attempts wait for service {self.name!r} already"
            job.report(AttemptResult(Outcome.NOT_DONE, error=error), self.draw())
        elif self._is_holding_back:
            self._held_back.append(job)
        else:
            self._enqueue(job)
        return job

    def hold_back(self) -> None:
        """Keep what is submitted from now on, until `release`."""
        self._is_holding_back = True

    def release(self) -> None:
        """Begin what was held back, at RECOVERED_CALLS_PER_S; what comes now is not held back."""
        self._is_holding_back = False
        self._released.set()

    async def drain(self) -> None:
        """Begin nothing more, and wait until what is in flight has ended or timed out."""
        self._is_draining = True
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
        return len(self._actions) + len(self._compensations) + len(self._held_back)

    def _enqueue(self, job: Job) -> None:
        queue = self._compensations if job.call.phase == "compensation" else self._actions
        queue.append(job)
        if not self._is_one_coming:
            self._employ()

    async def _release_gradually(self) -> None:
        at_once = max(1, round(limits.RECOVERED_CALLS_PER_S * RELEASE_EVERY_S))
        while self._held_back:
            for _ in range(min(at_once, len(self._held_back))):
                self._enqueue(self._held_back.popleft())
            await trio.sleep(RELEASE_EVERY_S)

    # Workers

    def next_job(self) -> Job | None:
        """What a worker is to do next, None when nothing waits or is to be begun."""
        queue = self._compensations or self._actions
        if self._is_draining or not queue:
            return None
        job = queue.popleft()
        if not self._is_one_coming and (self._compensations or self._actions):
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
        if not self._is_one_coming and (self._actions or self._compensations):
            self._employ()

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


class Worker:
    """Makes one attempt after the other.

    One cancel scope serves many attempts, until one of them has to be cancelled: a scope for each was a sixth
    of what a saga costs. `is_replaced` says that the timeout of the attempt was reported and only a late
    reply is listened for; such a worker makes no further attempt.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._scope = trio.CancelScope()
        self._job: Job | None = None
        self._alarm = Alarm(gateway.timers, self._on_time)
        self._is_cut = False  # the scope is cancelled, or about to be
        self.is_replaced = False

    async def run(self) -> None:
        """Work until replaced or no longer needed."""
        is_needed = True
        while is_needed and not self.is_replaced:
            self._scope = trio.CancelScope()
            self._is_cut = False
            with self._scope:
                is_needed = await self._work()
            if self._scope.cancelled_caught and not self.is_replaced:
                self._report_timeout()

    async def _work(self) -> bool:
        """Work within one scope; False when there is no more use for this worker."""
        gateway, count = self._gateway, 0
        while True:
            job = gateway.next_job()
            if job is None:
                self._alarm.drop()  # who rests leaves nothing behind
                if not await gateway.wait_for_job():
                    return False
            elif job.is_wanted:
                count += 1
                if count % JOBS_BETWEEN_CHECKPOINTS == 0:
                    await trio.lowlevel.checkpoint()
                await self._attempt(job)
                if self.is_replaced or self._is_cut:
                    return True

    async def _attempt(self, job: Job) -> None:
        gateway, call = self._gateway, job.call
        gateway.attempts += 1
        self._job = job
        began_s = gateway.timers.now_s()
        self._alarm.set_at(began_s + call.timeout_s)
        try:
            result = await gateway.caller.attempt(call)
        except* Exception as errors:  # also beside a Cancelled, which goes on to its scope
            _log.exception("service %s: an attempt raised", gateway.name)
            text = "; ".join(f"{type(error).__name__}: {error}" for error in errors.exceptions)
            result = AttemptResult(Outcome.UNKNOWN, error=text[: limits.ERROR_CHARS_MAX])
        finally:
            self._alarm.clear()
        latency_s = gateway.timers.now_s() - began_s
        result = msgspec.structs.replace(result, latency_s=latency_s)
        if job.is_reported:
            gateway.tally.late += 1
        else:
            gateway.tally.note(call, result)
        job.report(result, gateway.draw())

    def end(self) -> None:
        """Leave nothing behind."""
        self._alarm.drop()

    def _on_time(self) -> None:
        """Cancel the attempt, or report it and listen on for a while."""
        gateway = self._gateway
        if self.is_replaced or not gateway.may_linger():
            self._is_cut = True
            self._scope.cancel()
            return
        self._report_timeout()
        self.is_replaced = True
        gateway.replace()
        self._alarm.set_at(gateway.timers.now_s() + gateway.caller.late_reply_s)

    def _report_timeout(self) -> None:
        assert self._job is not None, "only an attempt can time out"
        timeout_s = self._job.call.timeout_s
        error = f"no reply within {timeout_s:g} s"
        result = AttemptResult(Outcome.UNKNOWN, error=error, latency_s=timeout_s)
        self._gateway.tally.note(self._job.call, result)
        self._job.report(result, self._gateway.draw())
