"""The types of what people are shown: JSON objects, camelCase, times in RFC 3339.

`sagakeep.view` makes these values and `sagakeep.http.schema` publishes the types, so that the
document cannot say anything else than what is sent. They are dicts at run time. Times are UTC with
`Z` and microseconds; durations are seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from sagakeep.alert import Severity
from sagakeep.definition import InDoubt, OnFailure, StepKind
from sagakeep.service import Outcome
from sagakeep.state import SagaStatus, StepStatus

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Shown = Annotated[object, Meta(description="Any JSON value; what is `sensitive` is redacted.")]
Cursor = Annotated[
    str | None, Meta(description="Give it back as `cursor` for what follows; null at the end.")
]


class RetryView(TypedDict):
    """The backoff of a step's attempts, in seconds."""

    initialInterval: float
    multiplier: float
    maxInterval: float
    maxElapsed: float | None


class StepDefinitionView(TypedDict):
    """A step as it was defined, every default written out."""

    id: str
    service: str
    action: str
    compensation: str
    payload: Shown
    maxRetries: int
    timeout: float
    compensationMaxRetries: int
    compensationPayload: Shown
    dependsOn: list[str]
    kind: StepKind
    inDoubt: InDoubt
    probe: str
    retry: RetryView
    sensitive: list[str]


class StepView(StepDefinitionView):
    """A step as it was defined, and how it stands.

    `retryCount` counts the attempts after the first, of the compensation once that has begun; so `error` and
    `errorCode`, the name of the rule by which its last failure counted so, are then the compensation's.
    `outcome` is what is known of the action, `attempts` are its own, from `startedAt` to `endedAt`.
    `isSkipped` and `isEdited` say that an operator let it count as done, and gave it another payload, which is
    shown here.
    """

    status: StepStatus
    retryCount: int
    result: Shown
    error: str
    errorCode: str
    outcome: Outcome | None
    nextAttemptAt: Time | None
    isSkipped: bool
    isEdited: bool
    attempts: int
    startedAt: Time | None
    endedAt: Time | None


class SagaDefinitionView(TypedDict):
    """A saga as it was posted, every default written out."""

    id: str
    name: str
    steps: list[StepDefinitionView]
    timeout: float
    maxRetries: int
    onFailure: OnFailure
    tags: dict[str, str]


class PauseView(TypedDict):
    """Since when nothing new is begun for a saga, and whose wish that was."""

    since: Time
    by: str
    reason: str


class RemainsView(TypedDict):
    """A step whose effect is there, or may be, and stays."""

    stepID: str
    why: str


class SagaView(TypedDict):
    """A saga as it was defined, and how it stands.

    `paused` is null but for one that an operator holds; `rerunOf` is the saga that it runs again, `rerunAs` the
    one that runs it again; `remains` is what one that was ended by force has left.
    """

    id: str
    name: str
    status: SagaStatus
    currentStep: str
    completedSteps: list[str]
    failedSteps: list[str]
    retryCount: int
    maxRetries: int
    timeout: float
    onFailure: OnFailure
    tags: dict[str, str]
    reason: str
    error: str
    createdAt: Time
    updatedAt: Time
    deadline: Time | None
    paused: PauseView | None
    rerunOf: str
    rerunAs: str
    remains: list[RemainsView]
    steps: list[StepView]


class Progress(TypedDict):
    """How many steps are done, and not undone, of how many."""

    done: int
    total: int


class StatusView(TypedDict):
    """A saga in short. `waitingFor` is for people."""

    id: str
    status: SagaStatus
    currentStep: str
    progress: Progress
    nextAttemptAt: Time | None
    waitingFor: str


class EventView(TypedDict):
    """One durable fact about a saga. `seq` counts from 1 within the saga."""

    id: str
    sagaID: str
    stepID: str
    type: str
    status: Literal["success", "retry", "error", "info"]
    payload: dict[str, Shown]
    timestamp: Time
    error: str
    seq: int


class FeedEventView(TypedDict):
    """One durable fact about any saga, without what was paid or said. `sagaStatus` is where the saga stands then;
    `seq` counts from 1 within the saga; `name` is empty if the saga was erased since."""

    sagaID: str
    name: str
    seq: int
    type: str
    stepID: str
    sagaStatus: SagaStatus
    timestamp: Time


class StatsView(TypedDict):
    """How all sagas fare; `successRate` from 0 to 1, `averageDuration` in seconds of completed ones."""

    totalSagas: int
    runningSagas: int
    completedSagas: int
    failedSagas: int
    compensatedSagas: int
    successRate: float
    averageDuration: float
    byStatus: dict[SagaStatus, int]


class AlertView(TypedDict):
    """What a person should know now. `subject` is a service, or empty; `sagas` names the first of `count`."""

    rule: str
    severity: Severity
    subject: str
    summary: str
    advice: str
    since: Time
    count: int
    sagas: list[str]
