"""A worker of a gateway: makes one attempt after the other at its service, each within its time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from sagakeep import limits
from sagakeep.actors.job import Job
from sagakeep.classification import CALLER_RAISED, NO_REPLY
from sagakeep.log_fields import fields_of_call
from sagakeep.runtime.timers import Alarm
from sagakeep.service import DONE, AttemptResult, Outcome

if TYPE_CHECKING:
    from sagakeep.actors.gateway import Gateway

_log = logging.getLogger(__name__)

JOBS_BETWEEN_CHECKPOINTS: Final = 64


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
            else:
                count += 1
                if count % JOBS_BETWEEN_CHECKPOINTS == 0:
                    await trio.lowlevel.checkpoint()
                await self._attempt(job)
                if self.is_replaced or self._is_cut:
                    return True

    async def _attempt(self, job: Job) -> None:
        gateway, call = self._gateway, job.call
        tracing = gateway.tracing
        gateway.attempts += 1
        self._job = job
        job.began_s = began_s = gateway.timers.now_s()
        self._alarm.set_at(began_s + call.timeout_s)
        try:
            result = await gateway.caller.attempt(call if tracing is None else tracing.traced(call))
        except* Exception as errors:  # also beside a Cancelled, which goes on to its scope
            _log.exception(
                "service %s: an attempt raised, and counts as unknown: report the trace, or mend the service",
                gateway.name,
                extra=fields_of_call(call),
            )
            text = "; ".join(f"{type(error).__name__}: {error}" for error in errors.exceptions)
            text = text[: limits.ERROR_CHARS_MAX]
            result = AttemptResult(Outcome.UNKNOWN, error=text, rule=CALLER_RAISED)
        finally:
            self._alarm.clear()
        latency_s = gateway.timers.now_s() - began_s
        result = msgspec.structs.replace(result, latency_s=latency_s)
        if job.is_reported:
            gateway.tally.late += 1
        else:
            gateway.tally.note(call, result)
            if tracing is not None:
                tracing.attempted(call, result)
            if result.outcome is not DONE or not gateway.throttle.is_calm:
                gateway.learn(job, result)
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
        gateway, call = self._gateway, self._job.call
        timeout_s = call.timeout_s
        error = f"no reply within {timeout_s:g} s"
        result = AttemptResult(Outcome.UNKNOWN, error=error, latency_s=timeout_s, rule=NO_REPLY)
        gateway.tally.note(call, result)
        if gateway.tracing is not None:
            gateway.tracing.attempted(call, result)
        gateway.learn(self._job, result)
        self._job.report(result, gateway.draw())
