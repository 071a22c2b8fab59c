"""The fields of a line of the log that is about one saga or one attempt: `extra` of a record. Pure."""

from __future__ import annotations

from sagakeep.service import Call
from sagakeep.state import SagaState
from sagakeep.trace import trace_id_of


def fields_of(state: SagaState) -> dict[str, object]:
    """What a line about a saga has."""
    return {"saga": state.id, "traceId": trace_id_of(state.id, state.traceparent)}


def fields_of_call(call: Call) -> dict[str, object]:
    """What a line about an attempt has."""
    return {
        "saga": call.saga_id,
        "step": call.step_id,
        "service": call.service,
        "attempt": call.attempt,
        "traceId": trace_id_of(call.saga_id, call.traceparent),
    }
