"""What a saga is asked to do: the types of its definition, as posted, as stored and as published.

One set of types serves three readers. `sagakeep.validation` converts a document field by field by
these annotations, `http/schema.py` makes the OpenAPI schema of them, and the journal stores
`msgspec.to_builtins` of a definition and reads it back with `msgspec.convert`. A stored definition
is explicit: defaults and `dependsOn` are written out, so a later change of a default changes no
saga that runs. The bounds are published (`extra_json_schema`) but not enforced here, so that a
definition that was once accepted can be read for ever.

On the wire the names are camelCase without units; in Python the unit or bound comes last.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta, field

from sagakeep import limits

_NAME: Final = {"pattern": limits.NAME_PATTERN}
_OPTIONAL_NAME: Final = {"pattern": rf"^$|{limits.NAME_PATTERN}"}
_SECONDS: Final = {"exclusiveMinimum": 0, "maximum": limits.TIMEOUT_S_MAX}
_RETRIES: Final = {"minimum": 0, "maximum": limits.RETRIES_MAX}
_MULTIPLIER: Final = {"minimum": 1, "maximum": limits.RETRY_MULTIPLIER_MAX}
_TAGS: Final = {
    "maxProperties": limits.TAGS_MAX,
    "propertyNames": {"minLength": 1, "maxLength": limits.TAG_CHARS_MAX},
}

Name = Annotated[str, Meta(extra_json_schema=_NAME)]
SagaId = Annotated[
    str, Meta(extra_json_schema={**_NAME, "not": {"enum": sorted(limits.RESERVED_IDS)}})
]
OptionalName = Annotated[str, Meta(extra_json_schema=_OPTIONAL_NAME)]
Seconds = Annotated[float, Meta(extra_json_schema=_SECONDS)]
Retries = Annotated[int, Meta(extra_json_schema=_RETRIES)]
Multiplier = Annotated[float, Meta(extra_json_schema=_MULTIPLIER)]
Tag = Annotated[str, Meta(extra_json_schema={"maxLength": limits.TAG_CHARS_MAX})]
Tags = Annotated[dict[str, Tag], Meta(extra_json_schema=_TAGS)]
Json = Annotated[
    object,
    Meta(description='Any JSON value; {"$from": JMESPath} in it is filled in at the call.'),
]
Dependencies = Annotated[
    tuple[str, ...],
    Meta(
        description="Ids of steps. Absent: the step before it in the list; []: starts at once.",
        extra_json_schema={"uniqueItems": True},
    ),
]
Pointer = Annotated[str, Meta(extra_json_schema={"pattern": "^(/([^~/]|~[01])*)*$"})]
Pointers = Annotated[
    tuple[Pointer, ...],
    Meta(description="JSON Pointers (RFC 6901) to values that are never shown nor logged."),
]


def _none() -> tuple[str, ...]:
    """Stand for an absent `dependsOn`; a plain `()` would be published as its default."""
    return ()


class StepKind(StrEnum):
    """What a step means for the way back."""

    COMPENSATABLE = "compensatable"
    PIVOT = "pivot"  # once it is done the saga only goes forward
    RETRIABLE = "retriable"  # after the pivot: retried without a maximum
    READ_ONLY = "readOnly"  # no effect: nothing to undo, never in doubt


class InDoubt(StrEnum):
    """What to do when nobody can say whether the action happened."""

    UNDO = "undo"
    PROBE = "probe"  # ask the service
    HOLD = "hold"  # ask an operator


class OnFailure(StrEnum):
    """What a saga does when a step has failed for good."""

    COMPENSATE = "compensate"
    HOLD = "hold"


class RetryPolicy(
    msgspec.Struct,
    frozen=True,
    gc=False,
    forbid_unknown_fields=True,
    rename={
        "initial_interval_s": "initialInterval",
        "interval_s_max": "maxInterval",
        "elapsed_s_max": "maxElapsed",
    },
):
    """Exponential backoff; `elapsed_s_max` counts from the first attempt, None is no limit."""

    initial_interval_s: Seconds = limits.RETRY_INITIAL_S
    multiplier: Multiplier = limits.RETRY_MULTIPLIER
    interval_s_max: Seconds = limits.RETRY_INTERVAL_S_MAX
    elapsed_s_max: Seconds | None = None


class Step(
    msgspec.Struct,
    frozen=True,
    gc=False,
    forbid_unknown_fields=True,
    rename={
        "retries_max": "maxRetries",
        "timeout_s": "timeout",
        "compensation_retries_max": "compensationMaxRetries",
        "compensation_payload": "compensationPayload",
        "depends_on": "dependsOn",
        "in_doubt": "inDoubt",
    },
):
    """One entry of a saga.

    `compensation` and `probe` are `""` when there is none. `compensation_payload` is None when it
    was absent or null: the compensation then gets the step's payload. `depends_on` is always
    explicit. `timeout_s` is that of one attempt.
    """

    id: Name
    service: Name
    action: Name
    compensation: OptionalName = ""
    payload: Json = field(default_factory=dict)
    retries_max: Retries = limits.RETRIES
    timeout_s: Seconds = limits.TIMEOUT_S
    compensation_retries_max: Retries = limits.COMPENSATION_RETRIES
    compensation_payload: Json = None
    depends_on: Dependencies = field(default_factory=_none)
    kind: StepKind = StepKind.COMPENSATABLE
    in_doubt: InDoubt = InDoubt.UNDO
    probe: OptionalName = ""
    retry: RetryPolicy = RetryPolicy()
    sensitive: Pointers = ()


class SagaDefinition(
    msgspec.Struct,
    frozen=True,
    dict=True,  # its plan is kept with it, see sagakeep.plan
    forbid_unknown_fields=True,
    rename={"timeout_s": "timeout", "retries_max": "maxRetries", "on_failure": "onFailure"},
):
    """What a client posts.

    `id` is `""` when the client chose none; `timeout_s` bounds the way forward.
    """

    name: Name
    steps: Annotated[
        tuple[Step, ...],
        Meta(extra_json_schema={"minItems": 1, "maxItems": limits.STEPS_MAX}),
    ]
    id: SagaId = field(default_factory=str)  # a plain "" would be published as its default
    timeout_s: Seconds = limits.SAGA_TIMEOUT_S
    retries_max: Retries = limits.RETRIES
    on_failure: OnFailure = OnFailure.COMPENSATE
    tags: Tags = field(default_factory=dict)
