"""The machine's negative space: every message in every state that small sagas can reach."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

import pytest
from msgspec.structs import astuple, replace
from scenario import START_UTC_S

from sagakeep import events as e
from sagakeep import messages as m
from sagakeep.codec import encode_state
from sagakeep.definition import SagaDefinition
from sagakeep.effects import RunCall, WaitUntil, outstanding
from sagakeep.errors import MoveRefused, SagakeepError, SagaNotFound, UnknownStep
from sagakeep.graph import Graph, graph_of
from sagakeep.limits import STEPS_MAX
from sagakeep.machine import create, decide
from sagakeep.service import AttemptResult, Outcome
from sagakeep.state import FINAL, HELD, SagaState, SagaStatus, StepStatus
from sagakeep.steering import allowed_moves, resolutions
from sagakeep.transitions import evolve
from sagakeep.validation import parse_definition

S, T = SagaStatus, StepStatus
AT = START_UTC_S


def definition_of(*steps: Mapping[str, object], **fields: object) -> m.Create:
    whole = [{"service": "s", "action": "do", "compensation": "undo", **step} for step in steps]
    return m.Create("s", parse_definition({"name": "n", "steps": whole} | fields, None))


# Messages: every one in every state that small sagas can reach

RESULTS = (
    AttemptResult(Outcome.DONE, {"outcome": "done"}),
    AttemptResult(Outcome.DONE, {"outcome": "not_done"}),
    AttemptResult(Outcome.NOT_DONE, error="refused", permanent=True),
    AttemptResult(Outcome.NOT_DONE, error="unavailable"),
    AttemptResult(Outcome.UNKNOWN, error="timed out"),
)
FEW = {"maxRetries": 1, "compensationMaxRetries": 1, "retry": {"initialInterval": 1}}
SMALL = {
    "chain": definition_of({"id": "a"} | FEW, {"id": "b"} | FEW, maxRetries=1, timeout=5),
    "pair": definition_of(
        {"id": "a", "dependsOn": [], "maxRetries": 0, "compensationMaxRetries": 0},
        {"id": "b", "dependsOn": [], "inDoubt": "hold", "maxRetries": 0},
        maxRetries=1,
        timeout=5,
    ),
    "pivot": definition_of(
        {"id": "a", "inDoubt": "probe", "probe": "ask", "maxRetries": 0},
        {"id": "p", "kind": "pivot", "maxRetries": 0, "inDoubt": "probe", "probe": "ask"},
        {"id": "c", "kind": "retriable", "compensation": ""},
        maxRetries=1,
        timeout=5,
    ),
    "hold": definition_of(
        {"id": "r", "kind": "readOnly", "compensation": "", "dependsOn": [], "maxRetries": 0},
        {"id": "a", "dependsOn": [], "maxRetries": 0},
        onFailure="hold",
        maxRetries=1,
        timeout=5,
    ),
}
STATES_MAX = 10_000


def messages_to(state: SagaState) -> Iterator[m.Message]:
    for effect in outstanding(state):
        if isinstance(effect, RunCall):
            for result in RESULTS:
                yield m.AttemptEnded(*astuple(effect)[:4], result)
            yield m.AttemptEnded(*astuple(effect)[:4], RESULTS[2], repeated=True)
    for step_id in state.steps:
        for phase in ("action", "compensation", "probe"):
            yield m.AttemptEnded(step_id, phase, 1, 9, RESULTS[0])
    yield from (m.Wake(), m.Restarted("bug"), m.Hold("bug"))
    yield from (m.Compensate(), m.Compensate(next(iter(state.steps))), m.Compensate("nowhere"))
    yield from (m.Retry(), m.Delete(), m.Resolve("a", "done"))


def now_of(state: SagaState, message: m.Message) -> float:
    """Wakes come when they are due."""
    times = [one.at_utc_s for one in outstanding(state) if isinstance(one, WaitUntil)]
    return max([state.updated_at_utc_s, *times]) if message == m.Wake() else state.updated_at_utc_s


def key_of(state: SagaState) -> object:
    """What makes a state new; its age does not."""
    return (
        state.status,
        state.deadline_utc_s <= state.updated_at_utc_s,
        state.retry_count,
        state.scope,
        state.doubt_accepted,
        state.deleted,
        tuple((s.status, s.probing, s.action.outcome, s.compensation.outcome,
               s.action.epoch, s.compensation.epoch, s.probes > 1) for s in state.steps.values()),
    )  # fmt: skip


def reachable(wish: m.Create) -> list[SagaState]:
    first = create(wish, AT).state
    found = {key_of(first): first}
    todo = deque([first])
    while todo and len(found) < STATES_MAX:
        state = todo.popleft()
        for message in messages_to(state):
            try:
                after = decide(state, message, now_of(state, message)).state
            except SagakeepError:
                continue
            if key_of(after) not in found:
                found[key_of(after)] = after
                todo.append(after)
    assert not todo, "all of them are found"
    return list(found.values())


@pytest.fixture(scope="module", params=SMALL)
def states(request: pytest.FixtureRequest) -> list[SagaState]:
    return reachable(SMALL[request.param])


def test_deciding_produces_only_possible_events_and_changes_nothing(
    states: list[SagaState],
) -> None:
    for state in states:
        before = encode_state(state, (0, 0))
        for message in messages_to(state):
            now = now_of(state, message)
            try:
                events, after = decide(state, message, now)
            except SagakeepError:
                continue
            folded = state
            for event in events:
                folded = evolve(folded, event, now)
            assert folded == after
        assert encode_state(state, (0, 0)) == before


def test_a_saga_waits_for_something_exactly_while_it_moves(states: list[SagaState]) -> None:
    for state in states:
        assert (outstanding(state) == []) is (state.status in FINAL | HELD), state
        assert state.status not in (S.CREATED, S.RETRYING), "they are passed within one decision"


def test_no_undo_is_out_beside_an_action_or_after_the_pivot(states: list[SagaState]) -> None:
    for state in states:
        phases = {one.phase for one in outstanding(state) if isinstance(one, RunCall)}
        pivot = state.steps.get("p")
        if "compensation" in phases:
            assert phases == {"compensation"}
            assert pivot is None or pivot.status is not T.COMPLETED
        if pivot is not None and pivot.status is T.COMPLETED:
            assert state.status is not S.COMPENSATED


# What a wish does to a saga that was not deleted: the first event, or why it is refused.
COMPENSATE = {S.RUNNING: "moves", S.FAILED: "moves", S.COMPLETED: "moves",
              S.COMPENSATING: "nothing", S.COMPENSATED: "nothing",
              S.COMPENSATION_FAILED: "refused"}  # fmt: skip
RETRY = {S.FAILED: "moves", S.COMPENSATION_FAILED: "moves", S.COMPENSATED: "moves",
         S.RUNNING: "refused", S.COMPENSATING: "refused", S.COMPLETED: "refused"}  # fmt: skip
DELETE = {S.RUNNING: "refused", S.COMPENSATING: "refused", S.FAILED: "moves",
          S.COMPENSATION_FAILED: "moves", S.COMPLETED: "moves", S.COMPENSATED: "moves"}  # fmt: skip


def effect_of(state: SagaState, wish: m.Message) -> str:
    try:
        events = decide(state, wish, state.updated_at_utc_s).events
    except MoveRefused as refusal:
        is_told = refusal.allowed == allowed_moves(state) and refusal.move not in refusal.allowed
        return "refused" if is_told else "refused, but told what is not so"
    return "moves" if events else "nothing"


def test_every_wish_does_what_the_status_says(states: list[SagaState]) -> None:
    for state in states:
        if state.deleted:
            continue
        pivot = state.steps.get("p")
        past = pivot is not None and pivot.status is T.COMPLETED
        compensate = COMPENSATE[state.status]
        may_retry = state.retry_count < state.definition.retries_max
        assert effect_of(state, m.Compensate()) == ("refused" if past else compensate)
        assert effect_of(state, m.Retry()) == (RETRY[state.status] if may_retry else "refused")
        assert effect_of(state, m.Delete()) == DELETE[state.status]
        with pytest.raises(UnknownStep):
            decide(state, m.Compensate("nowhere"), AT)
        moves: dict[str, m.Message] = {
            "compensate": m.Compensate(),
            "retry": m.Retry(),
            "delete": m.Delete(),
        }
        for name, wish in moves.items():
            assert (name in allowed_moves(state)) is (effect_of(state, wish) == "moves")
        assert ("resolve" in allowed_moves(state)) is bool(resolutions(state))
        with pytest.raises(UnknownStep):
            decide(state, m.Resolve("nowhere", "done"), AT)


def test_a_step_is_resolved_exactly_where_something_is_not_known(states: list[SagaState]) -> None:
    seen = set()
    for state in states:
        if state.deleted:
            continue
        for step_id, step in state.steps.items():
            for resolution in ("done", "not_done", "undone"):
                wish = m.Resolve(step_id, resolution)
                may_be = (step_id, resolution) in resolutions(state)
                if may_be:
                    decision = decide(state, wish, AT)
                    assert decision.events[0] == e.StepResolved(step_id, resolution)
                    seen.add((state.status, step.status, resolution))
                else:
                    with pytest.raises(MoveRefused, match="cannot be said to be"):
                        decide(state, wish, AT)
    assert {status for status, _, _ in seen} == {S.FAILED, S.COMPENSATION_FAILED}
    assert {resolution for _, _, resolution in seen} == {"done", "not_done", "undone"}


def test_a_deleted_saga_is_gone(states: list[SagaState]) -> None:
    deleted = [state for state in states if state.deleted]
    assert deleted
    for state in deleted:
        for message in messages_to(state):
            if isinstance(message, m.Compensate | m.Retry | m.Resolve | m.Delete):
                with pytest.raises(SagaNotFound):
                    decide(state, message, AT)
            else:
                assert decide(state, message, AT) == ([], state)


def test_a_reply_that_is_not_awaited_is_recorded_and_changes_nothing(
    states: list[SagaState],
) -> None:
    for state in states:
        awaited = {astuple(one)[:4] for one in outstanding(state) if isinstance(one, RunCall)}
        for message in messages_to(state):
            if state.deleted or not isinstance(message, m.AttemptEnded):
                continue
            effect = (message.step_id, message.phase, message.epoch, message.attempt)
            late = message if effect not in awaited else replace(message, late=True)
            (event,), after = decide(state, late, state.updated_at_utc_s)
            assert isinstance(event, e.LateReply)
            assert after == replace(state, sequence=state.sequence + 1)


def test_news_of_a_crash_is_recorded_and_a_hold_stands_still(states: list[SagaState]) -> None:
    for state in states:
        if state.deleted:
            continue
        now = state.updated_at_utc_s
        assert decide(state, m.Restarted("bug"), now).events[0] == e.ActorRestarted("bug")
        events, after = decide(state, m.Hold("bug"), now)
        assert events[0] == e.ActorRestarted("bug")
        assert after.status in FINAL | HELD
        if state.status in (S.RUNNING, S.COMPENSATING):
            assert after.error == "bug"


def test_waking_too_early_does_nothing(states: list[SagaState]) -> None:
    for state in states:
        assert decide(state, m.Wake(), state.updated_at_utc_s).events == []


def test_a_plan_is_made_once_for_each_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph looked up for each step made a decision on 200 steps take 57 ms, and nobody else could go on."""
    made = 0

    def counted(definition: SagaDefinition) -> Graph:
        nonlocal made
        made += 1
        return graph_of(definition)

    monkeypatch.setattr("sagakeep.plan.graph_of", counted)
    wish = definition_of(*({"id": f"s{at}"} for at in range(STEPS_MAX)))
    state = create(wish, AT).state
    for message in [RESULTS[0]] * 150 + [RESULTS[2]] + [RESULTS[0]] * 150:
        (effect,) = (one for one in outstanding(state) if isinstance(one, RunCall))
        state = decide(state, m.AttemptEnded(*astuple(effect)[:4], message), AT + 1).state
    assert made == 1
    assert state.status is S.COMPENSATED
