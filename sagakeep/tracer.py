"""A tracer: whoever is told of attempts and of sagas, to make spans of them."""

from __future__ import annotations

from typing import Protocol

from sagakeep.service import AttemptResult, Call
from sagakeep.state import SagaState, SagaStatus


class Tracer(Protocol):
    """Is quick and never raises. Times are UTC seconds."""

    def traced(self, call: Call) -> Call:
        """The call with the traceparent that its service is to see."""

    def attempted(self, call: Call, result: AttemptResult, ended_at_utc_s: float) -> None:
        """An attempt has ended, or its time was up; `call` is as it was before `traced`."""

    def moved(self, before: SagaStatus | None, state: SagaState) -> None:
        """The status of a saga has changed, and that is durable."""
