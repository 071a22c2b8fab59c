"""The tables' negative space: every event in every status, of the saga and of the step."""

from __future__ import annotations

import pytest
from event_samples import SAMPLE_OF
from msgspec.structs import replace
from scenario import START_UTC_S

from sagakeep import events as e
from sagakeep.changes import STEP_TRANSITIONS
from sagakeep.interventions import EDIT_TRANSITIONS, RESOLVE_TRANSITIONS, RETRY_TRANSITIONS
from sagakeep.service import Outcome, Phase
from sagakeep.state import SagaState, SagaStatus, StepStatus
from sagakeep.transitions import FACTS, TRANSITIONS, ImpossibleEvent, birth, evolve, fold

S, T = SagaStatus, StepStatus
AT = START_UTC_S

# The table of the specification, word by word.
SPECIFIED = {
    "created": {"saga_started": "running", "saga_compensating": "compensating"},
    "running": {
        "step_started": "running",
        "step_completed": "running",
        "step_retry": "running",
        "step_failed": "running",
        "saga_completed": "completed",
        "saga_failed": "failed",
        "saga_compensating": "compensating",
    },
    "failed": {"saga_retry": "retrying", "saga_compensating": "compensating"},
    "retrying": {"saga_started": "running", "saga_failed": "failed"},
    "compensating": {
        "step_completed": "compensating",
        "step_failed": "compensating",
        "compensation_started": "compensating",
        "compensation_retry": "compensating",
        "step_compensated": "compensating",
        "saga_compensated": "compensated",
        "compensation_failed": "compensation_failed",
    },
    "compensation_failed": {"saga_retry": "compensating"},
    "compensated": {"saga_retry": "retrying"},
    "completed": {"saga_compensating": "compensating"},
}
# What other rules of it ask for: docs/decisions/0001-semantics.md.
ADDED = {
    ("retrying", "saga_compensating"): "compensating",
    ("compensating", "saga_started"): "running",
    ("failed", "step_resolved"): "retrying",
    ("compensation_failed", "step_resolved"): "compensating",
    # What an operator may do, too: docs/decisions/0022-steering.md.
    ("running", "saga_paused"): "running",
    ("running", "saga_resumed"): "running",
    ("running", "step_skipped"): "running",
    ("running", "step_edited"): "running",
    ("running", "saga_abandoned"): "abandoned",
    ("failed", "step_skipped"): "retrying",
    ("failed", "step_edited"): "retrying",
    ("failed", "saga_abandoned"): "abandoned",
    ("compensating", "saga_failed"): "failed",
    ("compensating", "saga_paused"): "compensating",
    ("compensating", "saga_resumed"): "compensating",
    ("compensating", "step_edited"): "compensating",
    ("compensating", "saga_abandoned"): "abandoned",
    ("compensation_failed", "step_edited"): "compensating",
    ("compensation_failed", "saga_abandoned"): "abandoned",
    ("running", "step_hurried"): "running",
    ("compensating", "step_hurried"): "compensating",
    ("compensated", "saga_rerun"): "compensated",
    ("completed", "saga_rerun"): "completed",
    ("abandoned", "saga_rerun"): "abandoned",
}


# Events


def state_in(status: SagaStatus, step_status: StepStatus = T.RUNNING) -> SagaState:
    created = SAMPLE_OF[e.SagaCreated]
    assert isinstance(created, e.SagaCreated)
    state = birth("order-1", created, AT)
    step = replace(state.steps["a"], status=step_status)
    return replace(state, status=status, steps=state.steps | {"a": step})


def step_fitting(event: e.Event) -> StepStatus:
    if isinstance(event, e.StepResolved | e.StepEdited):
        return T.FAILED
    return next(iter(STEP_TRANSITIONS.get(type(event), {T.RUNNING: T.RUNNING})))


def test_the_table_is_that_of_the_specification() -> None:
    table = {
        status: {e.EVENT_NAMES[kind][0]: str(to) for kind, to in row.items()}
        for status, row in TRANSITIONS.items()
    }
    for (status, name), to in ADDED.items():
        assert table[SagaStatus(status)].pop(name) == to
    assert table.pop(S.ABANDONED) == {}
    assert table == SPECIFIED
    assert set(TRANSITIONS) == set(SagaStatus)


@pytest.mark.parametrize("status", SagaStatus)
@pytest.mark.parametrize("kind", e.EVENT_NAMES, ids=lambda kind: kind.__name__)
def test_an_event_is_possible_exactly_where_the_table_has_it(
    status: SagaStatus, kind: type[e.Event]
) -> None:
    event = SAMPLE_OF[kind]
    state = state_in(status, step_fitting(event))
    target = status if kind in FACTS else TRANSITIONS[status].get(kind)
    if target is None:
        with pytest.raises(ImpossibleEvent, match=f"in status {status}$"):
            evolve(state, event, AT + 1)
    else:
        after = evolve(state, event, AT + 1)
        assert (after.status, after.sequence, after.updated_at_utc_s) == (target, 2, AT + 1)


@pytest.mark.parametrize("step_status", StepStatus)
@pytest.mark.parametrize("kind", STEP_TRANSITIONS, ids=lambda kind: kind.__name__)
def test_a_step_moves_exactly_where_its_table_says(
    kind: type[e.Event], step_status: StepStatus
) -> None:
    status = next(s for s in SagaStatus if kind in FACTS or kind in TRANSITIONS[s])
    state = state_in(status, step_status)
    target = STEP_TRANSITIONS[kind].get(step_status)
    if target is None:
        with pytest.raises(ImpossibleEvent, match=f"step 'a', which is {step_status}$"):
            evolve(state, SAMPLE_OF[kind], AT)
    else:
        after = evolve(state, SAMPLE_OF[kind], AT)
        assert after.steps["a"].status is target
        assert after.steps["p"] == state.steps["p"]


@pytest.mark.parametrize("kind", STEP_TRANSITIONS, ids=lambda kind: kind.__name__)
def test_an_event_of_a_step_that_there_is_not_is_impossible(kind: type[e.Event]) -> None:
    status = next(s for s in SagaStatus if kind in FACTS or kind in TRANSITIONS[s])
    with pytest.raises(ImpossibleEvent, match="step 'z', which is missing"):
        evolve(state_in(status), replace(SAMPLE_OF[kind], step_id="z"), AT)


@pytest.mark.parametrize("status", SagaStatus)
@pytest.mark.parametrize("step_status", StepStatus)
def test_a_retry_moves_steps_as_its_table_says(status: SagaStatus, step_status: StepStatus) -> None:
    if e.SagaRetry not in TRANSITIONS[status]:
        assert status not in RETRY_TRANSITIONS
        return
    after = evolve(state_in(status, step_status), e.SagaRetry(), AT)
    allowed = RETRY_TRANSITIONS[status].get(step_status, (step_status,))
    assert after.steps["a"].status in allowed


@pytest.mark.parametrize("status", [S.FAILED, S.COMPENSATION_FAILED])
@pytest.mark.parametrize("resolution", ["done", "not_done", "undone"])
@pytest.mark.parametrize("step_status", StepStatus)
def test_a_step_is_resolved_exactly_where_the_table_says(
    status: SagaStatus, resolution: e.Resolution, step_status: StepStatus
) -> None:
    state = state_in(status, step_status)
    event = e.StepResolved("a", resolution, {"by": "hand"})
    target = RESOLVE_TRANSITIONS[status].get(resolution, {}).get(step_status)
    if target is None:
        with pytest.raises(ImpossibleEvent, match=f"step 'a', which is {step_status}$"):
            evolve(state, event, AT)
        return
    step = evolve(state, event, AT).steps["a"]
    assert step.status is target
    assert (step.result == {"by": "hand"}) is (resolution == "done")


@pytest.mark.parametrize("phase", EDIT_TRANSITIONS)
@pytest.mark.parametrize("step_status", StepStatus)
@pytest.mark.parametrize("outcome", [None, *Outcome])
def test_a_step_is_edited_exactly_where_the_table_says(
    phase: Phase, step_status: StepStatus, outcome: Outcome | None
) -> None:
    state = state_in(S.COMPENSATING if phase == "compensation" else S.RUNNING, step_status)
    step = state.steps["a"]
    step = replace(step, action=replace(step.action, outcome=outcome, attempt=1))
    state = replace(state, steps=state.steps | {"a": step})
    event = e.StepEdited("a", phase, {"n": 2})
    targets = EDIT_TRANSITIONS[phase].get(step_status)
    if targets is None:
        with pytest.raises(ImpossibleEvent, match=f"step 'a', which is {step_status}$"):
            evolve(state, event, AT)
        return
    step = evolve(state, event, AT).steps["a"]
    assert step.status in targets
    call = step.compensation if phase == "compensation" else step.action
    assert call.filled == ({"n": 2},)


def test_a_failure_of_the_undo_as_a_whole_names_no_step() -> None:
    after = evolve(
        state_in(S.COMPENSATING), e.CompensationFailed("", 0, Outcome.NOT_DONE, "bug"), AT
    )
    assert (after.status, after.error) == (S.COMPENSATION_FAILED, "bug")


# Records


def test_a_history_begins_at_its_creation() -> None:
    created = SAMPLE_OF[e.SagaCreated]
    for record in (
        e.Record("s", 1, AT, None, (e.SagaStarted(AT),)),
        e.Record("s", 2, AT, None, (created,)),
        e.Record("s", 1, AT, None, ()),
    ):
        with pytest.raises(ImpossibleEvent):
            fold(None, record)


def test_a_history_has_no_gap_and_is_of_one_saga() -> None:
    state = fold(None, e.Record("s", 1, AT, None, (SAMPLE_OF[e.SagaCreated],)))
    for record in (
        e.Record("s", 3, AT, None, (e.SagaStarted(AT),)),
        e.Record("s", 1, AT, None, (e.SagaStarted(AT),)),
        e.Record("t", 2, AT, None, (e.SagaStarted(AT),)),
        e.Record("s", 2, AT, None, (SAMPLE_OF[e.SagaCreated],)),
        e.Record("s", 2, AT, None, ()),
    ):
        with pytest.raises(ImpossibleEvent):
            fold(state, record)
    assert fold(state, e.Record("s", 2, AT, None, (e.SagaStarted(AT),))).status is S.RUNNING
