"""Facts: what happened to a saga, past tense, frozen, and never wrong once they are durable.

The state of a saga is the fold of its events (`sagakeep.machine.evolve`) and of nothing else. An event
stores what was decided or learned, never a wish and never what the fold can derive.

On disk an event is an array whose first element is the tag below; a tag is never reused or renumbered,
fields are only appended, and a field that is appended has a default (`docs/journal.md`, Records).
Times are seconds since 1970 in UTC; latencies are seconds; attempts and epochs count from 1. `rule` names the
rule by which a reply became its outcome (`sagakeep.classification`), "" where no reply was judged.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from sagakeep.definition import SagaDefinition
from sagakeep.service import Outcome, Phase

CompensationReason = Literal["failure", "timeout", "request"]
Resolution = Literal["done", "not_done", "undone"]


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Root of all facts; carries no field of its own."""


class SagaCreated(Event, frozen=True, tag=1):
    """The first event of every saga. `body_digest` tells the same Idempotency-Key's bodies apart."""

    definition: SagaDefinition
    by: str = ""
    idempotency_key: str = ""
    body_digest: bytes = b""
    traceparent: str = ""
    rerun_of: str = ""


class SagaStarted(Event, frozen=True, tag=2):
    """Forward progress may be made until the deadline."""

    deadline_utc_s: float


class StepStarted(Event, frozen=True, tag=3):
    """An attempt of the action is about to be made.

    `filled` is empty, or holds the one payload whose references were filled in for this call.
    """

    step_id: str
    attempt: int
    epoch: int = 1
    filled: tuple[object, ...] = ()


class StepCompleted(Event, frozen=True, tag=4):
    """The action is done."""

    step_id: str
    attempt: int
    result: object = None
    latency_s: float = 0.0


class StepRetry(Event, frozen=True, tag=5):
    """An attempt failed and another one follows at `retry_at_utc_s`."""

    step_id: str
    attempt: int
    outcome: Outcome
    error: str
    retry_at_utc_s: float
    latency_s: float = 0.0
    rule: str = ""


class StepFailed(Event, frozen=True, tag=6):
    """The action failed for good. `outcome` is the call's; `probing` says that a probe will settle it."""

    step_id: str
    attempt: int
    outcome: Outcome
    error: str
    latency_s: float = 0.0
    probing: bool = False
    rule: str = ""


class StepProbed(Event, frozen=True, tag=7):
    """A probe answered. Unknown with `retry_at_utc_s` 0 means that probing was given up."""

    step_id: str
    attempt: int
    outcome: Outcome
    result: object = None
    error: str = ""
    retry_at_utc_s: float = 0.0
    latency_s: float = 0.0
    rule: str = ""


class SagaCompleted(Event, frozen=True, tag=8):
    """All steps are done."""


class SagaFailed(Event, frozen=True, tag=9):
    """The saga stands still and waits for an operator; nothing is in flight."""

    error: str


class SagaCompensating(Event, frozen=True, tag=10):
    """What was done, or may have been done, will be undone; with `step_id` only it and its dependents, with
    `down_to` only the dependents of that one, and then the saga stands still."""

    reason: CompensationReason
    step_id: str = ""
    by: str = ""
    note: str = ""
    down_to: str = ""


class CompensationStarted(Event, frozen=True, tag=11):
    """An attempt of the compensation is about to be made."""

    step_id: str
    attempt: int
    epoch: int = 1
    filled: tuple[object, ...] = ()


class CompensationRetry(Event, frozen=True, tag=12):
    """An attempt of the compensation failed and another one follows."""

    step_id: str
    attempt: int
    outcome: Outcome
    error: str
    retry_at_utc_s: float
    latency_s: float = 0.0
    rule: str = ""


class StepCompensated(Event, frozen=True, tag=13):
    """The step is undone."""

    step_id: str
    attempt: int
    result: object = None
    latency_s: float = 0.0


class CompensationExhausted(Event, frozen=True, tag=14):
    """A compensation failed for good while others are in flight; they settle before the saga stops."""

    step_id: str
    attempt: int
    outcome: Outcome
    error: str
    latency_s: float = 0.0
    rule: str = ""


class CompensationFailed(Event, frozen=True, tag=15):
    """The undo of a step failed for good: an operator is needed. `step_id` is "" for a bug of ours."""

    step_id: str
    attempt: int
    outcome: Outcome
    error: str
    latency_s: float = 0.0
    rule: str = ""


class SagaCompensated(Event, frozen=True, tag=16):
    """Everything that was to be undone is undone."""


class SagaRetry(Event, frozen=True, tag=17):
    """An operator let the saga go on."""

    by: str = ""
    note: str = ""


class LateReply(Event, frozen=True, tag=18):
    """A reply that nobody waited for any more; it changes nothing."""

    step_id: str
    phase: Phase
    epoch: int
    attempt: int
    outcome: Outcome
    result: object = None
    error: str = ""
    latency_s: float = 0.0
    rule: str = ""


class ActorRestarted(Event, frozen=True, tag=19):
    """The saga's actor died of a bug and was started again from durable state."""

    error: str


class SagaDeleted(Event, frozen=True, tag=20):
    """The saga is gone from every list; its id is never used again."""

    by: str = ""
    note: str = ""


class StepResolved(Event, frozen=True, tag=21):
    """An operator said what became of a step, where no call can tell or do it any more.

    `done` with its `result`: the effect is there; `not_done`: it is not; `undone`: it was there, and was undone
    by hand.
    """

    step_id: str
    resolution: Resolution
    result: object = None
    by: str = ""
    note: str = ""


class SagaPaused(Event, frozen=True, tag=22):
    """An operator holds the saga: nothing new is begun until it is resumed; what is out ends, and is recorded."""

    by: str = ""
    note: str = ""


class SagaResumed(Event, frozen=True, tag=23):
    """The pause is over."""

    by: str = ""
    note: str = ""


class StepSkipped(Event, frozen=True, tag=24):
    """An operator lets a step count as done that was not: with this result, and with nothing to undo."""

    step_id: str
    result: object = None
    by: str = ""
    note: str = ""


class SagaAbandoned(Event, frozen=True, tag=25):
    """An operator ended the saga by force: what is not undone stays."""

    by: str = ""
    note: str = ""


class StepEdited(Event, frozen=True, tag=26):
    """A step's action, or what undoes it, was given another payload, and is called with that from now on."""

    step_id: str
    phase: Phase
    payload: object
    by: str = ""
    note: str = ""


class SagaRerun(Event, frozen=True, tag=27):
    """The saga, which has ended, was run again as another one."""

    rerun_as: str
    by: str = ""
    note: str = ""


class StepHurried(Event, frozen=True, tag=30):
    """An operator lets the next attempt of a step be made now, which was planned for later: of its action, of
    what undoes it, or a probe."""

    step_id: str
    by: str = ""
    note: str = ""


class SagaErased(Event, frozen=True, tag=127):
    """An event stood here that was erased, because its saga was deleted; nothing of it is left but its number.

    The key of a creation stays, so that no other saga is made under it. `filler` makes it as long as it was.
    """

    idempotency_key: str = ""
    filler: bytes | None = None


StepEvent = (
    StepStarted
    | StepCompleted
    | StepRetry
    | StepFailed
    | StepProbed
    | CompensationStarted
    | CompensationRetry
    | StepCompensated
    | CompensationExhausted
    | CompensationFailed
    | LateReply
    | StepResolved
    | StepSkipped
    | StepEdited
    | StepHurried
)
AnyEvent = (
    SagaCreated
    | SagaStarted
    | StepStarted
    | StepCompleted
    | StepRetry
    | StepFailed
    | StepProbed
    | SagaCompleted
    | SagaFailed
    | SagaCompensating
    | CompensationStarted
    | CompensationRetry
    | StepCompensated
    | CompensationExhausted
    | CompensationFailed
    | SagaCompensated
    | SagaRetry
    | LateReply
    | ActorRestarted
    | SagaDeleted
    | StepResolved
    | SagaPaused
    | SagaResumed
    | StepSkipped
    | SagaAbandoned
    | StepEdited
    | SagaRerun
    | StepHurried
    | SagaErased
)

# The name that people see, and what kind of news it is.
EVENT_NAMES: Final[dict[type[Event], tuple[str, str]]] = {
    SagaCreated: ("saga_created", "info"),
    SagaStarted: ("saga_started", "info"),
    StepStarted: ("step_started", "info"),
    StepCompleted: ("step_completed", "success"),
    StepRetry: ("step_retry", "retry"),
    StepFailed: ("step_failed", "error"),
    StepProbed: ("step_probed", "info"),
    SagaCompleted: ("saga_completed", "success"),
    SagaFailed: ("saga_failed", "error"),
    SagaCompensating: ("saga_compensating", "info"),
    CompensationStarted: ("compensation_started", "info"),
    CompensationRetry: ("compensation_retry", "retry"),
    StepCompensated: ("step_compensated", "success"),
    CompensationExhausted: ("compensation_exhausted", "error"),
    CompensationFailed: ("compensation_failed", "error"),
    SagaCompensated: ("saga_compensated", "success"),
    SagaRetry: ("saga_retry", "info"),
    LateReply: ("late_reply", "info"),
    ActorRestarted: ("actor_restarted", "error"),
    SagaDeleted: ("saga_deleted", "info"),
    StepResolved: ("step_resolved", "info"),
    SagaPaused: ("saga_paused", "info"),
    SagaResumed: ("saga_resumed", "info"),
    StepSkipped: ("step_skipped", "info"),
    SagaAbandoned: ("saga_abandoned", "error"),
    StepEdited: ("step_edited", "info"),
    SagaRerun: ("saga_rerun", "info"),
    StepHurried: ("step_hurried", "info"),
    SagaErased: ("saga_erased", "info"),
}


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The events of one decision about one saga: the unit of the journal, durable whole or not at all.

    `sequence` is the number of the first event within the saga, from 1; `at_utc_s` is when it was decided;
    `previous` is where the saga's record before this one stands, None for the first.
    """

    saga_id: str
    sequence: int
    at_utc_s: float
    previous: tuple[int, int] | None
    events: tuple[AnyEvent, ...]

    @property
    def is_erased(self) -> bool:
        """Is nothing left of it but its place?"""
        return type(self.events[0]) is SagaErased if self.events else False
