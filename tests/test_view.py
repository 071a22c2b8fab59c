from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from shop import saga, step

from sagakeep import events as e
from sagakeep import messages as m
from sagakeep.machine import create, decide
from sagakeep.published import EventView, SagaView, StatsView, StatusView
from sagakeep.service import AttemptResult, Outcome, Phase
from sagakeep.state import SagaStatus
from sagakeep.transitions import birth, evolve
from sagakeep.validation import parse_definition
from sagakeep.view import etag_of, event_views, saga_view, stats_view, status_view, time_view

T0 = 1_700_000_000.0
DONE = AttemptResult(Outcome.DONE, {"n": 1})
REFUSED = AttemptResult(Outcome.NOT_DONE, error="declined", permanent=True)
UNAVAILABLE = AttemptResult(Outcome.NOT_DONE, error="busy")
UNKNOWN = AttemptResult(Outcome.UNKNOWN, error="reset")


class Story:
    """A saga's life, told message by message; each takes a second."""

    def __init__(self, *steps: dict[str, object], **more: object) -> None:
        definition = parse_definition(saga(*steps, **more), None)
        events, self.state = create(m.Create("s-1", definition, by="ann"), T0)
        self.now_utc_s = T0
        self.records = [e.Record("s-1", 1, T0, None, tuple(events))]

    def tell(self, message: m.Message, after_s: float = 1.0) -> Story:
        self.now_utc_s += after_s
        sequence = self.state.sequence + 1
        events, self.state = decide(self.state, message, self.now_utc_s)
        self.records.append(e.Record("s-1", sequence, self.now_utc_s, None, tuple(events)))
        return self

    def ended(
        self, step_id: str, result: AttemptResult = DONE, phase: Phase = "action", attempt: int = 1
    ) -> Story:
        epoch = self.state.steps[step_id].action.epoch
        if phase == "compensation":
            epoch = self.state.steps[step_id].compensation.epoch
        return self.tell(m.AttemptEnded(step_id, phase, epoch, attempt, result))

    @property
    def saga(self) -> SagaView:
        return checked(saga_view(self.state), SagaView)

    @property
    def status(self) -> StatusView:
        return checked(status_view(self.state), StatusView)

    @property
    def events(self) -> list[EventView]:
        views = [
            one for record in self.records for one in event_views(record, self.state.definition)
        ]
        return checked(views, list[EventView])


def checked(view: Any, kind: Any) -> Any:
    """What the view is as JSON, once it was found to be of the published type with no field more."""
    document = json.loads(msgspec.json.encode(view))
    assert msgspec.to_builtins(msgspec.convert(document, kind)) == document
    return document


def test_a_new_saga_is_shown_whole() -> None:
    view = Story(step("a", payload={"n": 1}), step("b"), tags={"k": "v"}, timeout=60).saga
    steps = view.pop("steps")  # type: ignore[misc]  # the rest is compared at once
    assert view == {
        "id": "s-1",
        "name": "order",
        "status": "running",
        "currentStep": "a",
        "completedSteps": [],
        "failedSteps": [],
        "retryCount": 0,
        "maxRetries": 3,
        "timeout": 60.0,
        "onFailure": "compensate",
        "tags": {"k": "v"},
        "reason": "",
        "error": "",
        "createdAt": "2023-11-14T22:13:20.000000Z",
        "updatedAt": "2023-11-14T22:13:20.000000Z",
        "deadline": "2023-11-14T22:14:20.000000Z",
        "paused": None,
        "rerunOf": "",
        "rerunAs": "",
        "remains": [],
    }
    assert steps[0] == {
        "id": "a",
        "service": "shop",
        "action": "do",
        "compensation": "undo",
        "payload": {"n": 1},
        "maxRetries": 3,
        "timeout": 30.0,
        "compensationMaxRetries": 10,
        "compensationPayload": None,
        "dependsOn": [],
        "kind": "compensatable",
        "inDoubt": "undo",
        "probe": "",
        "retry": {
            "initialInterval": 1.0,
            "multiplier": 2.0,
            "maxInterval": 60.0,
            "maxElapsed": None,
        },
        "sensitive": [],
        "status": "running",
        "retryCount": 0,
        "result": None,
        "error": "",
        "errorCode": "",
        "outcome": None,
        "nextAttemptAt": None,
        "isSkipped": False,
        "isEdited": False,
        "attempts": 1,
        "startedAt": "2023-11-14T22:13:20.000000Z",
        "endedAt": None,
    }
    assert (steps[1]["status"], steps[1]["dependsOn"]) == ("pending", ["a"])


def test_a_saga_that_was_not_started_has_no_deadline() -> None:
    created = birth("s-1", e.SagaCreated(parse_definition(saga(), None)), T0)
    assert saga_view(created)["deadline"] is None


def test_a_completed_saga_has_no_current_step() -> None:
    story = Story(step("a"), step("b")).ended("a").ended("b")
    assert story.saga["currentStep"] == ""
    assert story.saga["completedSteps"] == ["a", "b"]
    assert story.saga["steps"][0]["result"] == {"n": 1}
    assert story.saga["steps"][0]["outcome"] == "done"
    assert story.status == {
        "id": "s-1",
        "status": "completed",
        "currentStep": "",
        "progress": {"done": 2, "total": 2},
        "nextAttemptAt": None,
        "waitingFor": "",
    }


def test_a_planned_attempt_is_shown_with_its_time() -> None:
    story = Story(step("a")).ended("a", UNAVAILABLE)
    at = "2023-11-14T22:13:22.000000Z"
    assert story.status["nextAttemptAt"] == at
    assert story.status["waitingFor"] == "next attempt of shop.do (attempt 2)"
    shown = story.saga["steps"][0]
    assert (shown["status"], shown["error"], shown["nextAttemptAt"]) == ("retrying", "busy", at)
    assert shown["retryCount"] == 0
    story.tell(m.Wake())
    assert story.saga["steps"][0]["retryCount"] == 1
    assert story.status["waitingFor"] == "reply of shop.do (attempt 2)"


def test_steps_at_the_same_time_are_counted() -> None:
    story = Story(step("a", dependsOn=[]), step("b", dependsOn=[]), step("c", dependsOn=[]))
    assert story.status["waitingFor"] == "reply of shop.do (attempt 1) and 2 more"
    story.ended("a", UNAVAILABLE)
    assert story.saga["currentStep"] == "b"  # it runs; a only waits


def test_a_saga_on_its_way_back_shows_what_is_undone() -> None:
    story = (
        Story(step("a"), step("b", "charge"), step("c")).ended("a").ended("b").ended("c", REFUSED)
    )
    assert story.saga["status"] == "compensating"
    assert story.saga["currentStep"] == "b"
    assert story.saga["failedSteps"] == ["c"]
    assert story.saga["error"] == "step 'c' failed: declined"
    assert story.status["waitingFor"] == "reply of shop.undo (attempt 1)"
    story.ended("b", UNAVAILABLE, "compensation")
    assert story.status["waitingFor"] == "next attempt of shop.undo (attempt 2)"
    shown = story.saga["steps"][1]
    assert (shown["status"], shown["error"], shown["outcome"]) == ("compensating", "busy", "done")
    story.tell(m.Wake()).ended("b", DONE, "compensation", 2)
    assert story.saga["steps"][1]["retryCount"] == 1
    story.ended("a", DONE, "compensation")
    assert (story.saga["status"], story.saga["currentStep"]) == ("compensated", "")
    assert story.saga["completedSteps"] == []


def test_a_failed_saga_stands_at_the_step_where_it_would_go_on() -> None:
    story = Story(step("a"), step("b")).ended("a", REFUSED)
    assert story.saga["error"] == "step 'a' failed: declined"
    assert (story.saga["status"], story.saga["currentStep"]) == ("failed", "a")
    assert story.status["waitingFor"] == "operator"


def test_a_compensation_that_failed_is_where_the_saga_stands() -> None:
    story = Story(step("a"), step("b")).ended("a").ended("b", REFUSED)
    story.ended("a", REFUSED, "compensation")
    assert (story.saga["status"], story.saga["currentStep"]) == ("compensation_failed", "a")
    assert story.saga["failedSteps"] == ["a", "b"]
    assert story.status["waitingFor"] == "operator"


def test_a_step_in_doubt_counts_as_failed_even_when_it_was_undone() -> None:
    story = Story(step("a", maxRetries=0)).ended("a", UNKNOWN)
    assert story.saga["steps"][0]["outcome"] == "unknown"
    story.ended("a", DONE, "compensation")
    assert story.saga["status"] == "compensated"
    assert story.saga["failedSteps"] == ["a"]
    assert story.saga["steps"][0]["error"] == "reset"


def test_a_probe_is_what_is_waited_for() -> None:
    story = Story(step("a", maxRetries=0, inDoubt="probe", probe="ask")).ended("a", UNKNOWN)
    assert story.saga["currentStep"] == "a"
    assert story.status["waitingFor"] == "reply of shop.ask (attempt 1)"
    assert [one["type"] for one in story.events][-1] == "step_failed"
    assert story.events[-1]["payload"]["probing"] is True


def test_an_attempt_that_settles_before_the_undo_is_what_is_waited_for() -> None:
    story = Story(step("a"), step("b")).ended("a").tell(m.Compensate(by="ann", note="stop"))
    assert story.saga["status"] == "compensating"
    assert story.saga["currentStep"] == "b"
    assert story.saga["reason"] == "request"


def test_a_saga_between_two_moves_stands_at_the_next_step() -> None:
    document = saga(step("a", dependsOn=["b"]), step("b", dependsOn=[]))
    created = birth("s-1", e.SagaCreated(parse_definition(document, None)), T0)
    assert status_view(created)["currentStep"] == "b"
    assert status_view(created)["waitingFor"] == ""


def test_a_saga_about_to_undo_stands_at_the_step_that_is_next() -> None:
    state = Story(step("a"), step("b")).ended("a").ended("b").state
    state = evolve(state, e.SagaCompensating("request"), T0)
    assert status_view(state)["currentStep"] == "b"


def test_the_tag_of_a_version_is_its_event_number() -> None:
    story = Story(step("a"))
    assert etag_of(story.state) == '"3"'
    assert etag_of(story.ended("a").state) == '"5"'


def test_times_are_shown_as_they_are_compared() -> None:
    assert time_view(0.0) == "1970-01-01T00:00:00.000000Z"
    assert time_view(1.2345678) == "1970-01-01T00:00:01.234568Z"


def test_a_pause_is_shown_with_whose_it_is() -> None:
    story = Story(step("a"), step("b")).tell(m.Pause("ann", "the bank is down"))
    assert story.saga["paused"] == {
        "since": "2023-11-14T22:13:21.000000Z",
        "by": "ann",
        "reason": "the bank is down",
    }
    assert story.status["waitingFor"] == "operator, who paused it"
    assert story.tell(m.Resume()).saga["paused"] is None


def test_no_attempt_is_announced_of_a_saga_that_is_paused() -> None:
    late = {"initialInterval": 100, "maxInterval": 100}
    story = Story(step("a", retry=late)).ended("a", UNAVAILABLE).tell(m.Pause())
    assert story.status["nextAttemptAt"] is None
    assert story.tell(m.Resume()).status["nextAttemptAt"] is not None


def test_what_was_done_by_hand_to_a_step_is_shown() -> None:
    story = Story(step("a"), step("b", payload={"n": 1}), onFailure="hold").ended("a")
    story.ended("b", REFUSED).tell(m.Edit("b", {"n": 2}))
    a, b = story.saga["steps"]
    assert (b["payload"], b["isEdited"], b["isSkipped"], a["isEdited"]) == (
        {"n": 2},
        True,
        False,
        False,
    )
    events = {one["type"]: one for one in story.events}
    assert events["step_edited"]["payload"] == {"phase": "action", "payload": {"n": 2}}
    story.tell(m.AttemptEnded("b", "action", 2, 1, REFUSED)).tell(m.Skip("b", {"n": 3}))
    b = story.saga["steps"][1]
    assert (b["status"], b["outcome"], b["result"], b["isSkipped"]) == (
        "completed",
        "not_done",
        {"n": 3},
        True,
    )
    assert story.saga["status"] == "completed"


def test_a_payload_by_hand_of_an_undo_is_shown() -> None:
    story = Story(step("a"), step("b")).ended("a").ended("b", REFUSED)
    story.ended("a", REFUSED, "compensation").tell(m.Edit("a", {"n": 2}))
    a = story.saga["steps"][0]
    assert (a["compensationPayload"], a["payload"], a["isEdited"]) == ({"n": 2}, {}, True)


def test_what_a_forced_end_leaves_is_shown() -> None:
    story = Story(step("a"), step("b")).ended("a").tell(m.Finish("ann", "it is too late"))
    assert story.saga["status"] == "abandoned"
    why = "the saga was ended by force before it was undone"
    assert story.saga["remains"] == [{"stepID": "a", "why": why}, {"stepID": "b", "why": why}]
    assert story.status["waitingFor"] == ""


def test_a_saga_and_its_next_run_name_each_other() -> None:
    story = Story(step("a")).ended("a").tell(m.Rerun("s-2"))
    assert (story.saga["rerunAs"], story.saga["rerunOf"]) == ("s-2", "")
    wish = m.Create("s-2", story.state.definition, rerun_of="s-1")
    assert checked(saga_view(create(wish, T0).state), SagaView)["rerunOf"] == "s-1"


# Events


def test_every_event_has_its_place_and_its_news() -> None:
    story = Story(step("a", payload={"id": {"$from": "saga.id"}})).ended("a", UNAVAILABLE)
    story.tell(m.Wake()).ended("a", DONE, attempt=2)
    assert [one["id"] for one in story.events] == [f"s-1/{n}" for n in range(1, 8)]
    created, started, step_started, retry, again, done, completed = story.events
    assert created["payload"]["by"] == "ann"
    assert created["payload"]["definition"]["id"] == "s-1"  # type: ignore[index]  # JSON
    assert set(created["payload"]) == {"definition", "by"}
    assert (created["type"], created["status"], created["stepID"]) == ("saga_created", "info", "")
    assert started["payload"] == {"deadline": "2023-11-14T22:18:20.000000Z"}
    assert step_started["payload"] == {"attempt": 1, "epoch": 1, "payload": {"id": "s-1"}}
    assert (retry["error"], retry["status"]) == ("busy", "retry")
    assert retry["payload"] == {
        "attempt": 1,
        "outcome": "not_done",
        "nextAttemptAt": "2023-11-14T22:13:22.000000Z",
        "latency": 0.0,
    }
    assert again["payload"] == {"attempt": 2, "epoch": 1}
    assert done["payload"] == {"attempt": 2, "result": {"n": 1}, "latency": 0.0}
    assert (completed["payload"], completed["seq"], completed["error"]) == ({}, 7, "")


def test_nothing_sensitive_is_in_any_view() -> None:
    payload = {"card": "4111", "from": {"$from": "saga.id"}}
    secret = step("a", payload=payload, sensitive=["/card"], compensationPayload={"card": "4111"})
    story = Story(secret, step("b")).ended("a", AttemptResult(Outcome.DONE, {"card": "4111"}))
    late = AttemptResult(Outcome.DONE, {"card": "4111"})
    story.tell(m.AttemptEnded("a", "action", 1, 9, late))
    assert story.events[-1]["type"] == "late_reply"
    for view in (story.saga, story.events):
        assert "4111" not in json.dumps(view)
        assert "[redacted]" in json.dumps(view)


def test_the_idempotency_key_is_shown_and_the_digest_is_not() -> None:
    definition = parse_definition(saga(), None)
    wish = m.Create("s-1", definition, idempotency_key="k", body_digest=b"\xff", traceparent="t")
    record = e.Record("s-1", 1, T0, None, (create(wish, T0).events[0],))
    [created] = event_views(record, definition)
    assert set(created["payload"]) == {"definition", "idempotencyKey", "traceparent"}


def test_every_kind_of_event_can_be_shown() -> None:
    definition = parse_definition(saga(step("a")), None)
    samples = {
        "definition": definition,
        "step_id": "a",
        "attempt": 1,
        "epoch": 1,
        "outcome": Outcome.DONE,
        "error": "oops",
        "phase": "action",
        "reason": "request",
        "resolution": "done",
        "payload": {"n": 2},
        "rerun_as": "s-2",
        "deadline_utc_s": T0,
        "retry_at_utc_s": T0,
    }
    for kind in e.EVENT_NAMES:
        required = [field.name for field in msgspec.structs.fields(kind) if field.required]
        event: Any = kind(**{name: samples[name] for name in required})
        [view] = event_views(e.Record("s-1", 7, T0, None, (event,)), definition)
        checked(view, EventView)
        assert view["error"] == ("oops" if "error" in required else "")


def test_a_probe_that_was_given_up_has_no_next_attempt() -> None:
    probed = e.StepProbed("a", 1, Outcome.UNKNOWN)
    definition = parse_definition(saga(step("a")), None)
    [view] = event_views(e.Record("s-1", 7, T0, None, (probed,)), definition)
    assert view["payload"]["nextAttemptAt"] is None


# Statistics


def test_statistics_of_nothing() -> None:
    view = checked(stats_view({}, 0, 0.0), StatsView)
    assert view["byStatus"] == dict.fromkeys(SagaStatus, 0)
    assert (view["totalSagas"], view["successRate"], view["averageDuration"]) == (0, 1.0, 0.0)


def test_statistics_of_everything() -> None:
    counts = {status: 10**at for at, status in enumerate(SagaStatus)}
    view = stats_view(counts, 4, 10.0)
    assert view["totalSagas"] == 111111111
    assert view["runningSagas"] == 111111  # all that have not ended
    assert view["failedSagas"] == 101100100  # failed, compensation_failed, compensated, abandoned
    assert view["compensatedSagas"] == 1000000
    assert view["completedSagas"] == 10000000
    assert view["successRate"] == pytest.approx(10000000 / 111000000)
    assert view["averageDuration"] == 2.5
