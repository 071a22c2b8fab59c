"""The ledger of one service about one saga: it does what the service promises, and answers what can be read."""

from __future__ import annotations

import msgspec

from sagakeep.definition import StepKind
from sagakeep.proof.promises import UndoBy
from sagakeep.proof.results import shares_leaf
from sagakeep.proof.script import Script
from sagakeep.service import DONE, NOT_DONE, AttemptResult, Call
from sagakeep.simulation.ledger import Ledger


class SagaLedger(Ledger):
    """Refuses, finds and answers as the script says; what it did is in `entries`."""

    def __init__(self, script: Script, service: str) -> None:
        self._told = script.promises.of(service)
        super().__init__(service, self._told.kind)
        self._plan = script.plan
        self._made_up = script.made_up
        self._payloads: dict[str, object] = {}

    def deliver(self, call: Call, at_s: float) -> AttemptResult:
        if call.phase == "probe" and not self._told.probe:
            return AttemptResult(NOT_DONE, error="there is no such probe", permanent=True)
        if self.only_reads(call):
            return AttemptResult(DONE, self._result(call))
        if call.phase != "action" and call.action == self._plan.steps[call.step_id].action:
            call = msgspec.structs.replace(call, phase="action")  # so the service takes it
        if call.phase == "compensation" and not self._finds(call):
            return AttemptResult(DONE, {"undone": False})
        if call.phase == "action":
            self._payloads[call.idempotency_key] = call.payload
        result = super().deliver(call, at_s)
        if result.outcome is not DONE or call.phase == "compensation":
            return result
        if call.phase == "action":
            return msgspec.structs.replace(result, result=self._result(call))
        return msgspec.structs.replace(result, result=self._answer(call, result.result))

    def only_reads(self, call: Call) -> bool:
        """Has the call no effect by its nature?"""
        return self._plan.steps[call.step_id].kind is StepKind.READ_ONLY

    def why_nothing(self, call: Call) -> str:
        """Say why a request that arrived had no effect."""
        if self.counts[call.idempotency_key]:
            return "it was done before, under the same key"
        if call.phase == "compensation" and self.counts[call.action_key]:
            if not self._finds(call):
                return "it does not find what to undo in the payload"
            return "it was undone before, under the same key"
        return "there is nothing to undo"

    def _finds(self, call: Call) -> bool:
        """Does the service know what an undo is about?"""
        if self._told.undo_by is UndoBy.STEP or not self.counts[call.action_key]:
            return True
        sent = self._payloads.get(call.action_key)
        if call.payload == sent:
            return True
        return shares_leaf(call.payload, (sent, self._result(call)))

    def _result(self, call: Call) -> object:
        step = self._plan.steps[call.step_id]
        if step.action in self._told.results:
            return self._told.results[step.action]
        return self._made_up.result(step.id, call.action_key)

    def _answer(self, call: Call, found: object) -> object:
        """What a probe says, with the result that the action had."""
        match found:
            case {"outcome": "done"}:
                return {"outcome": "done", "result": self._result(call)}
            case _:
                return found
