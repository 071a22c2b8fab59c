from __future__ import annotations

import pytest

from sagakeep.service import Call
from sagakeep.trace import (
    TraceContext,
    attempt_span_id,
    context_of,
    parent_span_id,
    saga_span_id,
    trace_id_of,
    traceparent_of,
    undo_span_id,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


def call(**more: object) -> Call:
    fields: dict[str, object] = {
        "saga_id": "s-1",
        "saga_name": "order",
        "step_id": "pay",
        "service": "bank",
        "action": "charge",
        "phase": "action",
        "attempt": 1,
        "idempotency_key": "s-1/pay/action/1",
        "payload": None,
        "timeout_s": 1.0,
    }
    return Call(**fields | more)


def test_a_traceparent_is_taken_apart_and_written_down_again() -> None:
    assert context_of(GIVEN) == TraceContext(TRACE, SPAN, is_sampled=True)
    assert context_of(GIVEN.removesuffix("1") + "0") == TraceContext(TRACE, SPAN, is_sampled=False)
    for text in (GIVEN, GIVEN.removesuffix("1") + "0"):
        context = context_of(text)
        assert context is not None
        assert traceparent_of(context) == text


@pytest.mark.parametrize(
    "text",
    ["", "t", GIVEN.upper(), GIVEN + "-x", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01"],
)
def test_what_is_no_traceparent_is_no_parent_and_the_saga_has_a_trace_of_its_own(text: str) -> None:
    assert context_of(text) is None
    own = trace_id_of("s-1", text)
    assert own == trace_id_of("s-1", "") != trace_id_of("s-2", "")
    assert context_of(f"00-{own}-{SPAN}-01") is not None


def test_every_span_of_a_saga_has_an_id_of_its_own_which_stays() -> None:
    key = "s-1/pay/compensation/1"
    undo = call(phase="compensation", idempotency_key=key)
    probe = call(phase="probe")
    ids = [
        *(saga_span_id("s-1", run) for run in range(3)),
        *(undo_span_id("s-1", run) for run in range(3)),
        *(attempt_span_id(call(attempt=attempt)) for attempt in range(1, 4)),
        attempt_span_id(undo),
        attempt_span_id(probe),
    ]
    assert len(set(ids)) == len(ids)
    assert {len(one) for one in ids} == {16}
    assert saga_span_id("s-1", 0) == "6248f119707d43b7"


def test_an_attempt_is_in_its_run_and_an_undo_in_the_undo_of_it() -> None:
    assert parent_span_id(call(run=2)) == saga_span_id("s-1", 2)
    assert parent_span_id(call(phase="probe")) == saga_span_id("s-1", 0)
    assert parent_span_id(call(phase="compensation", run=1)) == undo_span_id("s-1", 1)
