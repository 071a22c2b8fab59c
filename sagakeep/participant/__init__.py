"""What makes a service safe to be called twice, late and in any order. It needs nothing but the standard library.

    with barrier(connection, request.headers, request.body) as call:    in the service's own transaction
        if call.is_new:
            call.done({"chargeId": take_money(connection)})
    return call.status, call.headers, call.body

Where there is no transaction to share: `sagakeep.participant.middleware`. What is promised, and what cannot
be: docs/participant.md.
"""

from __future__ import annotations

from sagakeep.participant.answer import Answer, AnswerTooLong
from sagakeep.participant.barrier import BarrierCall, NoTransaction, barrier, forget_calls
from sagakeep.participant.call import Headers, SagaCall
from sagakeep.participant.table import schema

__all__ = [
    "Answer",
    "AnswerTooLong",
    "BarrierCall",
    "Headers",
    "NoTransaction",
    "SagaCall",
    "barrier",
    "forget_calls",
    "schema",
]
