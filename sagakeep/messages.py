"""Messages: what a saga may be asked or told. Wishes can be refused; news cannot.

Wishes: Compensate, Retry, Resolve, Delete; `by` and `note` are kept in the history: who, and why. News:
AttemptEnded, Wake, Restarted, Hold.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from sagakeep.definition import SagaDefinition
from sagakeep.events import Resolution
from sagakeep.service import AttemptResult, Phase
from sagakeep.state import SagaState


class Create(msgspec.Struct, frozen=True, gc=False):
    """Begin a saga. `body_digest` belongs to `idempotency_key`, both empty when the client sent none."""

    saga_id: str
    definition: SagaDefinition
    by: str = ""
    idempotency_key: str = ""
    body_digest: bytes = b""
    traceparent: str = ""


class Started(NamedTuple):
    """The answer to Create. Not new: the same Idempotency-Key and body gave this saga before."""

    saga: SagaState
    is_new: bool


class AttemptEnded(msgspec.Struct, frozen=True, gc=False):
    """An attempt has an outcome. `draw` in [0, 1) is the chance that jitters the next one; `late` marks a reply
    that came after its timeout had been reported; `repeated` an attempt that was outstanding when the process
    began, so that it may have been made before and have happened then."""

    step_id: str
    phase: Phase
    epoch: int
    attempt: int
    result: AttemptResult
    draw: float = 1.0
    late: bool = False
    repeated: bool = False


class Wake(msgspec.Struct, frozen=True, gc=False):
    """Time has passed: a backoff or a deadline may be due."""


class Compensate(msgspec.Struct, frozen=True, gc=False):
    """Undo the saga, or only `step_id` and the steps that depend on it."""

    step_id: str = ""
    by: str = ""
    note: str = ""


class Retry(msgspec.Struct, frozen=True, gc=False):
    """Go on where it stands still; after an undo, do the undone steps again."""

    by: str = ""
    note: str = ""


class Resolve(msgspec.Struct, frozen=True, gc=False):
    """Take an operator's word for what became of a step, and go on; `result` is for `done`."""

    step_id: str
    resolution: Resolution
    result: object = None
    by: str = ""
    note: str = ""


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Remove the saga from every list; with `moved_at_utc_s` only if its last event is of then."""

    by: str = ""
    note: str = ""
    moved_at_utc_s: float | None = None


class Restarted(msgspec.Struct, frozen=True, gc=False):
    """The saga's actor died of `error` and runs again."""

    error: str


class Hold(msgspec.Struct, frozen=True, gc=False):
    """The saga's actor died too often: stand still until an operator looks."""

    error: str


Wish = Compensate | Retry | Resolve | Delete
Message = AttemptEnded | Wake | Wish | Restarted | Hold
