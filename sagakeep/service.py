"""What sagakeep asks of a service, and what a service may answer.

A service in Python is any object with coroutine methods named after its actions and compensations:

    class Payment:
        async def charge(self, call: Call) -> object: ...
        async def refund(self, call: Call) -> object: ...

A return value means done and is the result. `ServiceRefused` means that nothing was done and never
will be; `ServiceUnavailable` that nothing was done yet. Any other exception, and a timeout, leave the
outcome unknown. A method may see the same `idempotency_key` more than once and must then do the
work only once.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal, Protocol

import msgspec

Phase = Literal["action", "compensation", "probe"]


class Outcome(StrEnum):
    """What is known of an effect: it happened, it did not, or nobody can say."""

    DONE = "done"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


DONE: Final = Outcome.DONE  # names for the hot path; why, see sagakeep.saga_status
NOT_DONE: Final = Outcome.NOT_DONE
UNKNOWN: Final = Outcome.UNKNOWN


class ServiceRefused(Exception):
    """The service did nothing and a further attempt would not help (a declined card)."""


class ServiceUnavailable(Exception):
    """The service did nothing yet; `retry_after_s`, when given, is the earliest next attempt in seconds."""

    def __init__(self, *args: object, retry_after_s: float | None = None) -> None:
        super().__init__(*args)
        self.retry_after_s = retry_after_s


class Call(msgspec.Struct, frozen=True, gc=False):
    """One attempt of one intended effect.

    `action` is the name to call (the action, the compensation or the probe, by `phase`); `payload` is
    JSON as Python values; `result` is the action's result when compensating and known, else None;
    `outcome` is that of the action when compensating or probing, else None; `attempt` counts from 1;
    `idempotency_key` is the same for every attempt of the effect; `action_key` is that of the action that
    it is about: of a compensation the action that it undoes, else its own. `sensitive` has the JSON
    Pointers to values of the payload and the result that nobody may be shown. `run` is how often an operator had
    let the saga go on.
    """

    saga_id: str
    saga_name: str
    step_id: str
    service: str
    action: str
    phase: Phase
    attempt: int
    idempotency_key: str
    payload: object
    timeout_s: float
    result: object = None
    outcome: Outcome | None = None
    traceparent: str = ""
    action_key: str = ""
    sensitive: tuple[str, ...] = ()
    run: int = 0


class AttemptResult(msgspec.Struct, frozen=True, gc=False):
    """What one attempt taught us.

    `permanent` is meant for NOT_DONE only: no further attempt. `retry_after_s` is the service's wish
    for the earliest next attempt, seconds from now. `error` is for people, at most ERROR_CHARS_MAX.
    `is_unreachable` says that nobody was there to refuse: a sign that the service is down. `rule` names the rule
    that gave the outcome (`sagakeep.classification`), "" where none had to be asked.
    """

    outcome: Outcome
    result: object = None
    error: str = ""
    permanent: bool = False
    retry_after_s: float | None = None
    latency_s: float = 0.0
    is_unreachable: bool = False
    rule: str = ""


class Caller(Protocol):
    """A way to make one attempt. Never raises but for cancellation: what goes wrong is an outcome.

    The gateway bounds the time; a cancelled attempt must abort its request and hold no resource.
    `late_reply_s` is for how long after the timeout an answer is still listened to (it is recorded and
    changes nothing); 0 where a cancelled attempt can have no answer.
    """

    late_reply_s: float

    async def attempt(self, call: Call) -> AttemptResult: ...

    async def aclose(self) -> None: ...
