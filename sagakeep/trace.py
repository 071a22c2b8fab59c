"""Traces: the W3C trace context of a saga and of all that it does, as functions of what is durable.

    the caller's span, from the traceparent of the creation
    `-- saga                              a run: from its creation, or an operator's retry, until it stands still
        |-- attempt 1 of a step's action  the services get this as their parent
        |-- attempt 2
        `-- undo                          from where it turned back until it is undone, or cannot be
            `-- attempt 1 of a compensation

So a process that is killed and the one after it name the same spans, and a call that is made again after a crash
is the same span. Without a traceparent of the caller the saga begins a trace of its own.

Pure: no clock, no chance.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from sagakeep.service import Call

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8

_is_traceparent: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})"
).fullmatch


class TraceContext(NamedTuple):
    """A span of somebody else's, in lower-case hexadecimal."""

    trace_id: str
    span_id: str
    is_sampled: bool


def context_of(traceparent: str) -> TraceContext | None:
    """Take a traceparent apart (VERSION-TRACE-SPAN-FLAGS), None for "" and what is not well-formed."""
    match = _is_traceparent(traceparent)
    if match is None:
        return None
    return TraceContext(match[1], match[2], bool(int(match[3], 16) & 1))


def traceparent_of(context: TraceContext) -> str:
    """Write a span down for those that are called from it."""
    flags = "01" if context.is_sampled else "00"
    return f"00-{context.trace_id}-{context.span_id}-{flags}"


def trace_id_of(saga_id: str, traceparent: str) -> str:
    """The trace that a saga belongs to: its caller's, or its own."""
    caller = context_of(traceparent)
    return _digest(saga_id, TRACE_ID_BYTES) if caller is None else caller.trace_id


def saga_span_id(saga_id: str, run: int) -> str:
    """The span of a run: the number of times that an operator had let the saga go on."""
    return _digest(f"{saga_id}/{run}", SPAN_ID_BYTES)


def undo_span_id(saga_id: str, run: int) -> str:
    """The span of the undo in a run."""
    return _digest(f"{saga_id}/{run}/undo", SPAN_ID_BYTES)


def attempt_span_id(call: Call) -> str:
    """The span of one attempt."""
    return _digest(f"{call.idempotency_key}/{call.phase}/{call.attempt}", SPAN_ID_BYTES)


def parent_span_id(call: Call) -> str:
    """The span that an attempt is in."""
    parent = undo_span_id if call.phase == "compensation" else saga_span_id
    return parent(call.saga_id, call.run)


def _digest(text: str, size_bytes: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size_bytes).hexdigest()
