"""The ledger of a simulated service: what it did, what it undid, under which keys.

How good the service is, is its promise:

    blind      does what it is asked, each time that it is asked
    once       does it once for each Idempotency-Key, and undoes nothing where it did nothing
    barrier    the same, and it refuses an action that comes after its undo, or after a probe that did not find it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from sagakeep.service import AttemptResult, Call, Outcome, Phase


class Promise(StrEnum):
    """How a service treats what it is asked twice, or in the wrong order."""

    BLIND = "blind"
    ONCE = "once"
    BARRIER = "barrier"


class Entry(NamedTuple):
    """One effect. `key` is the call's, `action_key` that of the action that it is or undoes."""

    at_s: float
    service: str
    saga_id: str
    step_id: str
    phase: Phase
    key: str
    action_key: str
    attempt: int


class Ledger:
    """The effects of one service, in order; `applied` is told of each."""

    def __init__(
        self, service: str, promise: Promise, applied: Callable[[Entry], None] = lambda _: None
    ) -> None:
        self.service = service
        self.promise = promise
        self.entries: list[Entry] = []
        self.counts: Counter[str] = Counter()  # effects by key
        self._closed: set[str] = set()  # keys of actions that may not happen any more
        self._answered: set[str] = set()  # keys of undos that had nothing to do
        self._applied = applied

    def net(self, saga_id: str, step_id: str) -> int:
        """How often the step's effect is there: deeds less undos."""
        return sum(
            1 if entry.phase == "action" else -1
            for entry in self.entries
            if (entry.saga_id, entry.step_id) == (saga_id, step_id)
        )

    def deliver(self, call: Call, at_s: float) -> AttemptResult:
        """A request arrives: do what it asks for, and answer."""
        if call.phase == "probe":
            return self._probe(call)
        if call.phase == "action":
            return self._act(call, at_s)
        return self._undo(call, at_s)

    def _act(self, call: Call, at_s: float) -> AttemptResult:
        key = call.idempotency_key
        if key in self._closed:
            return AttemptResult(Outcome.NOT_DONE, error="it was undone before", permanent=True)
        if self.promise is Promise.BLIND or not self.counts[key]:
            self._write(call, at_s)
        return AttemptResult(Outcome.DONE, {"step": call.step_id, "receipt": key})

    def _undo(self, call: Call, at_s: float) -> AttemptResult:
        key = call.idempotency_key
        if self.promise is Promise.BARRIER:
            self._closed.add(call.action_key)
        was_seen = self.counts[key] or key in self._answered
        if self.promise is Promise.BLIND or (not was_seen and self.counts[call.action_key]):
            self._write(call, at_s)
        else:
            self._answered.add(key)
        return AttemptResult(Outcome.DONE, {"undone": call.step_id})

    def _probe(self, call: Call) -> AttemptResult:
        key = call.idempotency_key
        if self.counts[key]:
            result = {"step": call.step_id, "receipt": key}
            return AttemptResult(Outcome.DONE, {"outcome": "done", "result": result})
        if self.promise is Promise.BARRIER:
            self._closed.add(key)
        return AttemptResult(Outcome.DONE, {"outcome": "not_done"})

    def _write(self, call: Call, at_s: float) -> None:
        entry = Entry(
            at_s,
            self.service,
            call.saga_id,
            call.step_id,
            call.phase,
            call.idempotency_key,
            call.action_key,
            call.attempt,
        )
        self.entries.append(entry)
        self.counts[entry.key] += 1
        self._applied(entry)
