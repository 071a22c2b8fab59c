"""Tracing: what the actors tell a tracer, on the clock of the sagas. No bug of a tracer ends any of them."""

from __future__ import annotations

import logging

from sagakeep.actors.committed import Note
from sagakeep.log_fields import fields_of, fields_of_call
from sagakeep.runtime.clock import Clock
from sagakeep.runtime.journal_files import Position
from sagakeep.service import AttemptResult, Call
from sagakeep.tracer import Tracer

_log = logging.getLogger(__name__)

LOST = "a span is lost, and perhaps others, which are not told: report the trace, it is a bug"


class Tracing:
    """Tells a tracer of attempts and of moves; the first failure is told in the log, `failures` counts them."""

    def __init__(self, tracer: Tracer, clock: Clock) -> None:
        self.failures = 0
        self._tracer = tracer
        self._clock = clock

    def traced(self, call: Call) -> Call:
        """The call as its service is to see it."""
        try:
            return self._tracer.traced(call)
        except Exception:
            self._fail(fields_of_call(call))
            return call

    def attempted(self, call: Call, result: AttemptResult) -> None:
        """An attempt has just ended."""
        try:
            self._tracer.attempted(call, result, self._clock.now_utc_s())
        except Exception:
            self._fail(fields_of_call(call))

    def moved(self, note: Note, _position: Position) -> None:
        """The status of a saga has changed."""
        try:
            self._tracer.moved(note.before, note.state)
        except Exception:
            self._fail(fields_of(note.state))

    def _fail(self, fields: dict[str, object]) -> None:
        self.failures += 1
        if self.failures == 1:
            _log.exception(LOST, extra=fields)
