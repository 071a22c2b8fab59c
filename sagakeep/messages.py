"""Messages: what a saga may be asked or told. Wishes can be refused; news cannot.

Wishes: Compensate, Retry, Resolve, Skip, Edit, Pause, Resume, Finish, Rerun, Delete; `by` and `note` are kept in
the history: who, and why. With `versions` a wish is only for a saga whose last event has one of these numbers;
without, for any. News: AttemptEnded, Wake, Restarted, Hold.
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
    rerun_of: str = ""


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
    """Undo the saga, or only `step_id` and the steps that depend on it, or only those that depend on `down_to`,
    and then stand still. With `plan_id` only as it was planned (sagakeep.steering.plan_id_of)."""

    step_id: str = ""
    by: str = ""
    note: str = ""
    down_to: str = ""
    plan_id: str = ""
    versions: tuple[int, ...] = ()


class Retry(msgspec.Struct, frozen=True, gc=False):
    """Go on where it stands still; after an undo, do the undone steps again. With `now` also make the next
    attempts at once that are planned; with a `service` only what is planned, or could not be undone, there."""

    by: str = ""
    note: str = ""
    versions: tuple[int, ...] = ()
    now: bool = False
    service: str = ""


class Resolve(msgspec.Struct, frozen=True, gc=False):
    """Take an operator's word for what became of a step, and go on; `result` is for `done`."""

    step_id: str
    resolution: Resolution
    result: object = None
    by: str = ""
    note: str = ""
    versions: tuple[int, ...] = ()


class Skip(msgspec.Struct, frozen=True, gc=False):
    """Let a step that is not done count as done, with a result, and with nothing to undo."""

    step_id: str
    result: object = None
    by: str = ""
    note: str = ""
    versions: tuple[int, ...] = ()


class Edit(msgspec.Struct, frozen=True, gc=False):
    """Call a step, or what undoes it if that is where it is stuck, with another payload."""

    step_id: str
    payload: object
    by: str = ""
    note: str = ""
    versions: tuple[int, ...] = ()


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Begin nothing new until it is resumed; what is in flight may end."""

    by: str = ""
    note: str = ""
    versions: tuple[int, ...] = ()


class Resume(msgspec.Struct, frozen=True, gc=False):
    """Go on after a pause."""

    by: str = ""
    note: str = ""
    versions: tuple[int, ...] = ()


class Finish(msgspec.Struct, frozen=True, gc=False):
    """End the saga by force: nothing more is called, and nothing is undone."""

    by: str = ""
    note: str = ""
    versions: tuple[int, ...] = ()


class Rerun(msgspec.Struct, frozen=True, gc=False):
    """Note that the saga, which has ended, is run again as `rerun_as`."""

    rerun_as: str
    by: str = ""
    note: str = ""
    versions: tuple[int, ...] = ()


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Remove the saga from every list; with `moved_at_utc_s` only if its last event is of then."""

    by: str = ""
    note: str = ""
    moved_at_utc_s: float | None = None
    versions: tuple[int, ...] = ()


class Restarted(msgspec.Struct, frozen=True, gc=False):
    """The saga's actor died of `error` and runs again."""

    error: str


class Hold(msgspec.Struct, frozen=True, gc=False):
    """The saga's actor died too often: stand still until an operator looks."""

    error: str


Wish = Compensate | Retry | Resolve | Skip | Edit | Pause | Resume | Finish | Rerun | Delete
Message = AttemptEnded | Wake | Wish | Restarted | Hold
