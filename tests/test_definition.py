"""The types of a definition: what they default to, how they are stored and published."""

from __future__ import annotations

import msgspec
import pytest

from sagakeep.definition import (
    InDoubt,
    OnFailure,
    RetryPolicy,
    SagaDefinition,
    Step,
    StepKind,
)

STEP = Step(id="a", service="s", action="do")


def test_defaults_are_those_of_the_specification() -> None:
    assert (STEP.retries_max, STEP.timeout_s, STEP.compensation_retries_max) == (3, 30.0, 10)
    assert (STEP.kind, STEP.in_doubt) == (StepKind.COMPENSATABLE, InDoubt.UNDO)
    assert STEP.retry == RetryPolicy(1.0, 2.0, 60.0, None)
    saga = SagaDefinition(name="n", steps=(STEP,))
    assert (saga.timeout_s, saga.retries_max, saga.on_failure) == (300.0, 3, OnFailure.COMPENSATE)


def test_a_stored_definition_comes_back_equal() -> None:
    saga = SagaDefinition(
        name="n",
        steps=(
            STEP,
            Step(
                id="b",
                service="s",
                action="do",
                compensation="undo",
                payload=[{"deep": [None, 1, 2.5, "x"]}],
                compensation_payload={"$from": "steps.a.result"},
                depends_on=("a",),
                kind=StepKind.PIVOT,
                in_doubt=InDoubt.PROBE,
                probe="ask",
                retry=RetryPolicy(elapsed_s_max=600),
                sensitive=("/card",),
            ),
        ),
        tags={"k": "v"},
    )
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.to_builtins(saga)))
    assert msgspec.convert(stored, SagaDefinition) == saga


def test_a_stored_definition_spells_its_defaults_out() -> None:
    stored = msgspec.to_builtins(SagaDefinition(name="n", steps=(STEP,)))
    assert set(stored) == {"name", "steps", "id", "timeout", "maxRetries", "onFailure", "tags"}
    assert {"dependsOn", "compensationMaxRetries", "inDoubt"} <= set(stored["steps"][0])


def test_a_definition_is_frozen() -> None:
    with pytest.raises(AttributeError):
        STEP.id = "b"  # type: ignore[misc]  # the point of the test


def test_the_schema_publishes_the_bounds() -> None:
    _, components = msgspec.json.schema_components([SagaDefinition])
    step = components["Step"]["properties"]
    assert step["maxRetries"] == {"minimum": 0, "maximum": 100, "type": "integer", "default": 3}
    assert step["timeout"]["exclusiveMinimum"] == 0
    assert components["SagaDefinition"]["properties"]["steps"]["maxItems"] == 200
    assert components["SagaDefinition"]["required"] == ["name", "steps"]


def test_the_schema_does_not_claim_that_an_absent_depends_on_is_empty() -> None:
    _, components = msgspec.json.schema_components([SagaDefinition])
    assert "default" not in components["Step"]["properties"]["dependsOn"]
