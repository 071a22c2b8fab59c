"""Analytics: of the index, of a directory, as a route and as a command; and the figures that they are made of."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asgi_client import AsgiClient
from click.testing import CliRunner
from demo_journal import fill
from described import check_reply
from served import Server
from shop import Shop, saga, step
from test_rows import NOON

from sagakeep import limits
from sagakeep import saga_status as status
from sagakeep.actors.row_file import RowFile
from sagakeep.actors.rows import Rows
from sagakeep.actors.saga_query import SagaQuery
from sagakeep.analytics import Analytics, analytics_view
from sagakeep.cli import main
from sagakeep.commands import screen
from sagakeep.commands.tallied import percentile, tally
from sagakeep.definition import SagaDefinition, Step
from sagakeep.http.app import make_app
from sagakeep.http.edge import edge
from sagakeep.offline.saga_listing import states_in
from sagakeep.orchestrator import open_orchestrator
from sagakeep.service import DONE, NOT_DONE, UNKNOWN
from sagakeep.state import CallState, SagaState, SagaStatus, StepState, StepStatus
from sagakeep.step_figures import StepFigures, figures_of

QUICK = {"initialInterval": 0.001, "maxInterval": 0.001}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("analytics") / "data"
    fill(str(directory))
    return str(directory)


# The figures of a step


def ended(attempt: int = 1, took_s: float = 2.0, **fields: object) -> CallState:
    call = CallState(
        attempt=attempt, outcome=DONE, started_at_utc_s=NOON, ended_at_utc_s=NOON + took_s
    )
    return msgspec.structs.replace(call, **fields)


def a_saga(*steps: StepState, saga_id: str = "s", **fields: object) -> SagaState:
    definition = SagaDefinition(
        name="order", steps=tuple(Step(f"s{at}", "shop", "do") for at in range(len(steps)))
    )
    state = SagaState(
        id=saga_id,
        definition=definition,
        status=status.COMPLETED,
        sequence=1,
        created_at_utc_s=NOON,
        updated_at_utc_s=NOON + 5,
        steps={f"s{at}": one for at, one in enumerate(steps)},
    )
    return msgspec.structs.replace(state, **fields)


@pytest.mark.parametrize(
    ("step_state", "figures"),
    [
        (StepState(), (0, None, "", 0, None, "")),
        (StepState(StepStatus.COMPLETED, ended(3)), (3, 2_000_000, "", 0, None, "")),
        (
            StepState(StepStatus.FAILED, ended(outcome=NOT_DONE, rule="HTTP 402")),
            (1, 2_000_000, "HTTP 402", 0, None, ""),
        ),
        (
            StepState(StepStatus.FAILED, CallState(outcome=NOT_DONE)),
            (0, None, "other", 0, None, ""),
        ),
        (
            StepState(
                StepStatus.COMPENSATED, ended(outcome=UNKNOWN, rule="HTTP 500"), ended(2, 0.25)
            ),
            (1, 2_000_000, "HTTP 500", 2, 250_000, ""),
        ),
        (
            StepState(
                StepStatus.COMPENSATION_FAILED, ended(), ended(outcome=NOT_DONE, rule="HTTP 404")
            ),
            (1, 2_000_000, "", 1, 2_000_000, "HTTP 404"),
        ),
        (StepState(StepStatus.COMPENSATION_FAILED, ended()), (1, 2_000_000, "", 0, None, "other")),
    ],
)
def test_the_figures_of_a_step_say_how_long_and_why_not(
    step_state: StepState, figures: tuple[object, ...]
) -> None:
    (found,) = figures_of(a_saga(step_state))
    assert found == StepFigures("s0", "shop", "do", *figures)


def test_a_clock_that_went_back_makes_no_duration_negative() -> None:
    (found,) = figures_of(a_saga(StepState(StepStatus.COMPLETED, ended(took_s=-1.0))))
    assert found.took_us == 0


# The index


@pytest.fixture
def rows(tmp_path: Path):
    rows = Rows(RowFile(str(tmp_path / "index.sqlite")))
    rows.open("u", None)
    yield rows
    rows.close()


def write(rows: Rows, *states: SagaState) -> None:
    rows.write([(state, (100, at)) for at, state in enumerate(states)], 1)


def done(at: int, took_s: float, name: str = "order") -> SagaState:
    state = a_saga(
        StepState(StepStatus.COMPLETED, ended(1 + at % 2, took_s)), saga_id=f"{name}{at}"
    )
    definition = msgspec.structs.replace(state.definition, name=name)
    return msgspec.structs.replace(
        state,
        definition=definition,
        created_at_utc_s=NOON + at,
        updated_at_utc_s=NOON + at + took_s,
    )


def undone(at: int, rule: str = "HTTP 402") -> SagaState:
    return a_saga(
        StepState(StepStatus.COMPENSATED, ended(), ended(3, 9.0)),
        StepState(StepStatus.FAILED, ended(outcome=NOT_DONE, rule=rule)),
        saga_id=f"undone{at}",
        status=status.COMPENSATED,
    )


def held(at: int) -> SagaState:
    failing = StepState(
        StepStatus.COMPENSATION_FAILED, ended(), ended(outcome=NOT_DONE, rule="HTTP 404")
    )
    return a_saga(failing, saga_id=f"held{at}", status=status.COMPENSATION_FAILED)


def moving(at: int) -> SagaState:
    running = StepState(StepStatus.RUNNING, CallState(attempt=1, started_at_utc_s=NOON))
    return a_saga(running, saga_id=f"moving{at}", status=status.RUNNING)


ALL = SagaQuery(limit=1_000)
MIXED = (
    *(done(at, at + 1.0) for at in range(100)),
    *(done(at, 1.0, "refund") for at in range(3)),
    *map(undone, range(4)),
    undone(5, "no reply in time"),
    held(1),
    moving(1),
)


def test_the_index_tells_the_same_as_counting_saga_by_saga(rows: Rows) -> None:
    write(rows, *MIXED)
    assert rows.analyse(ALL) == tally(MIXED)


def test_times_are_cut_to_three_digits_here_and_there(rows: Rows) -> None:
    took_us = [0, 1, 999, 1_000, 1_001, 9_999, 10_009, 123_456_789, 30 * 86_400 * 10**6 + 1]
    states = [done(at, one / 1e6, f"n{at}") for at, one in enumerate(took_us)]
    write(rows, *states)
    found = rows.analyse(ALL)
    assert found == tally(states)
    durations = {one.name: one.durations_s[0] for one in found.calls}
    assert durations["n5"] == 0.00999
    assert durations["n7"] == 123.0
    assert len(set(durations.values())) == 8, "1.000 and 1.001 ms are the same"


def test_shares_ranks_and_failures_are_those_of_the_sagas(rows: Rows) -> None:
    write(rows, *MIXED)
    view = analytics_view(rows.analyse(ALL))
    order, refund = view["names"]
    assert (order["name"], order["sagas"], refund["sagas"]) == ("order", 107, 3)
    assert order["byStatus"]["running"] == 1
    assert order["shares"] == {
        "completed": 100 / 106,
        "compensated": 5 / 106,
        "abandoned": 0.0,
        "failed": 1 / 106,
    }
    assert order["undoRate"] == 5 / 105
    assert order["durations"] == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
    undo, action = view["steps"][1], view["steps"][0]
    assert (action["phase"], action["calls"]) == ("action", 106)
    assert (undo["phase"], undo["calls"], undo["attemptsMean"]) == ("compensation", 6, 16 / 6)
    failures = [
        (one["stepID"], one["phase"], one["error"], one["sagas"]) for one in view["failures"]
    ]
    assert failures == [
        ("s1", "action", "HTTP 402", 4),
        ("s0", "compensation", "HTTP 404", 1),
        ("s1", "action", "no reply in time", 1),
    ]


def test_of_nothing_there_is_nothing_to_tell(rows: Rows) -> None:
    assert rows.analyse(ALL) == tally([]) == Analytics(0, True, (), (), ())
    write(rows, moving(1))
    (name,) = analytics_view(rows.analyse(ALL))["names"]
    assert set(name["shares"].values()) == {None}
    assert name["undoRate"] is name["durations"]["p99"] is None


@pytest.mark.parametrize(
    ("limit", "sagas", "is_whole"), [(9, 9, False), (10, 10, True), (11, 10, True)]
)
def test_the_newest_are_looked_at_up_to_the_bound(
    rows: Rows, limit: int, sagas: int, is_whole: bool
) -> None:
    write(rows, *(done(at, float(at)) for at in range(10)))
    found = rows.analyse(SagaQuery(limit=limit))
    assert (found.sagas, found.is_whole) == (sagas, is_whole)
    assert found.names[0].durations_s[2] == 9.0, "the oldest is left out"


def test_the_filters_are_those_of_a_list(rows: Rows) -> None:
    tagged = msgspec.structs.replace(
        done(7, 1.0), definition=SagaDefinition("tagged", (), tags={"a": "b"}), steps={}
    )
    write(rows, *(done(at, 1.0) for at in range(5)), tagged, done(6, 1.0, "refund"))
    assert rows.analyse(SagaQuery(limit=9, name="refund")).sagas == 1
    assert rows.analyse(SagaQuery(limit=9, tags=(("a", "b"),))).sagas == 1
    assert rows.analyse(SagaQuery(limit=9, name="order", tags=(("a", "b"),))).sagas == 0
    assert rows.analyse(SagaQuery(limit=9, created_after=NOON + 3)).sagas == 4
    assert rows.analyse(SagaQuery(limit=9, created_before=NOON + 3)).sagas == 4


def test_what_is_beyond_the_bounds_is_counted(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANALYTICS_NAMES_MAX", 2)
    monkeypatch.setattr(limits, "ANALYTICS_CALLS_MAX", 1)
    monkeypatch.setattr(limits, "ANALYTICS_FAILURES_MAX", 1)
    write(rows, *(done(at, 1.0, f"n{at}") for at in range(5)), undone(1), undone(2, "HTTP 403"))
    found = rows.analyse(ALL)
    assert [one.name for one in found.names] == ["order", "n0"]
    assert [len(one) for one in found[2:5]] == [2, 1, 1]
    assert found.left_out == (4, 7, 1)


def test_figures_go_when_the_saga_moves_on_or_is_deleted(rows: Rows) -> None:
    write(rows, held(1))
    assert rows.analyse(ALL).failures
    write(rows, msgspec.structs.replace(held(1), status=status.COMPENSATING))
    assert not rows.analyse(ALL).failures
    write(rows, held(1))
    write(rows, msgspec.structs.replace(held(1), deleted=True))
    assert rows.analyse(ALL).sagas == 0
    with rows._finding as connection:
        assert connection.execute("SELECT steps FROM saga").fetchall() == [("[]",)]


# The command


def analytics(*args, **environ):
    result = CliRunner(env=environ).invoke(main, ["analytics", *args])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_shares_durations_and_failures_of_a_directory(directory):
    told = json.loads(analytics("--data", directory))
    (name,) = told["names"]
    assert (name["sagas"], name["completed"], name["compensated"]) == (4, 1, 2)
    assert name["held"] == 1
    assert name["undoRate"] == pytest.approx(2 / 3)
    failures = {(one["stepID"], one["error"], one["sagas"]) for one in told["failures"]}
    assert failures == {
        ("ship_order", "ServiceRefused", 1),
        ("reserve_inventory", "ServiceRefused", 1),
    }
    assert {(one["stepID"], one["phase"]) for one in told["steps"]} >= {
        ("process_payment", "action"),
        ("process_payment", "compensation"),
    }
    assert all(one["attemptsMean"] == 1.0 for one in told["steps"])


def test_a_server_tells_the_same_as_its_directory(directory):
    offline = analytics("--data", directory, "--since", "2026-01-01T00:00:00Z")
    server = Server(directory, "--demo")
    try:
        server.ready()
        url = f"http://127.0.0.1:{server.port}"
        for since in ("2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z"):
            offline = json.loads(analytics("--data", directory, "--since", since))
            assert json.loads(analytics("--since", since, SAGAKEEP_URL=url)) == offline
            before = json.loads(analytics("--data", directory, "--until", since))
            assert json.loads(analytics("--until", since, SAGAKEEP_URL=url)) == before
            assert {offline["sagas"], before["sagas"]} == {0, 4}
    finally:
        server.close()


def test_people_get_tables(directory, monkeypatch):
    monkeypatch.setattr(screen, "is_for_people", lambda as_json: not as_json)
    shown = analytics("--data", directory, COLUMNS="160")
    assert "66.7%" in shown
    assert "undo of payment.charge" in shown
    assert "ServiceRefused" in shown
    assert "newest" not in shown
    assert analytics("--data", directory, "--name", "nobody") == "no saga matches\n"


def test_people_are_told_what_is_not_there(directory, monkeypatch):
    from sagakeep.commands import tallied

    monkeypatch.setattr(screen, "is_for_people", lambda as_json: not as_json)
    part = tally([moving(1)])._replace(is_whole=False)
    monkeypatch.setattr(tallied, "tally", lambda _states: part)
    shown = analytics("--data", directory, COLUMNS="160")
    assert "of the newest 1 sagas: there are more" in shown
    assert "%" not in shown
    assert "SLOW STEP" not in shown
    assert "FAILED STEP" not in shown


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_a_time_that_is_none_is_told(directory, option):
    result = CliRunner().invoke(main, ["analytics", "--data", directory, option, "noon"])
    assert result.exit_code == 2
    assert option in result.output


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [(0, 50, None), (1, 99, 1), (2, 50, 1), (3, 50, 2), (100, 99, 99), (101, 99, 100), (10, 90, 9)],
)
def test_percentiles_are_nearest_ranks(count, percent, expected):
    assert percentile(range(1, count + 1), percent) == expected


# The route


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[AsgiClient]:
    async with open_orchestrator(str(tmp_path), {"shop": Shop()}) as orchestrator:
        yield AsgiClient(edge(make_app(orchestrator)), check_reply)


async def posted(api: AsgiClient, *steps: Any, **more: object) -> Any:
    headers = {"Prefer": "wait=10"}
    reply = await api.request("POST", "/api/sagas", json=saga(*steps, **more), headers=headers)
    assert reply.status == 201
    return reply.json


async def test_the_route_tells_of_what_has_just_ended(api: AsgiClient) -> None:
    flaky = await posted(api, step("a", "flaky", retry=QUICK), name="flaky", tags={"k": "v"})
    shown = flaky["steps"][0]
    assert (shown["attempts"], shown["errorCode"]) == (2, "")
    assert shown["startedAt"] <= shown["endedAt"]
    await posted(api, step("a"), step("b", "fail"))
    told = (await api.request("GET", "/api/analytics")).json
    assert (told["sagas"], told["isWhole"]) == (2, True)
    assert {one["name"]: one["completed"] for one in told["names"]} == {"flaky": 1, "order": 0}
    means = {(one["stepID"], one["name"]): one["attemptsMean"] for one in told["steps"]}
    assert means["a", "flaky"] == 2.0
    [failure] = told["failures"]
    assert (failure["stepID"], failure["error"]) == ("b", "ServiceRefused")
    for query in ("name=flaky", "tag.k=v", "since=2026-01-01T00:00:00Z&tag.k=v"):
        part = (await api.request("GET", f"/api/analytics?{query}")).json
        assert [one["name"] for one in part["names"]] == ["flaky"]


async def test_the_route_refuses_what_it_does_not_know(api: AsgiClient) -> None:
    reply = await api.request("GET", "/api/analytics?since=noon&nme=x&tag.=v")
    assert reply.status == 422
    pointers = [one["pointer"] for one in reply.json["errors"]]
    assert sorted(pointers) == ["/nme", "/since", "/tag."]


async def test_deleted_sagas_are_in_no_figure(api: AsgiClient) -> None:
    begun = await posted(api, step("a", "fail"))
    assert (await api.request("DELETE", f"/api/sagas/{begun['id']}")).status == 204
    told = (await api.request("GET", "/api/analytics")).json
    assert (told["sagas"], told["names"], told["failures"]) == (0, [], [])


def test_a_journal_tells_the_figures_that_the_states_had(directory) -> None:
    """Whoever folds the journal gets them; so the index can be made again at any time."""
    done_state = next(one for one in states_in(directory) if one.id == "done")
    for one in figures_of(done_state):
        assert one.attempts == 1
        assert one.took_us is not None
    assert done_state.status is SagaStatus.COMPLETED
