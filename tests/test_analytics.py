"""`sagakeep analytics`, of a directory and of a real server."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from demo_journal import fill
from served import Server

from sagakeep.cli import main
from sagakeep.commands import screen, tallied
from sagakeep.commands.tallied import OTHER_ERRORS, percentile, tally
from sagakeep.offline.saga_listing import sagas_in


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("analytics") / "data"
    fill(str(directory))
    return str(directory)


def analytics(*args, **environ):
    result = CliRunner(env=environ).invoke(main, ["analytics", *args])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_undo_rate_durations_and_failures_of_a_directory(directory):
    told = json.loads(analytics("--data", directory))
    (name,) = told["names"]
    assert (name["sagas"], name["completed"], name["compensated"]) == (4, 1, 2)
    assert name["held"] == 1
    assert name["undoRate"] == pytest.approx(2 / 3)
    (done,) = [saga for saga in sagas_in(directory) if saga["id"] == "done"]
    assert set(name["durations"].values()) == {tallied.duration_s_of(done)}
    failures = {(one["stepID"], one["error"], one["sagas"]) for one in told["failures"]}
    assert failures == {
        ("ship_order", "shipping.fail always refuses", 1),
        ("reserve_inventory", "inventory.fail always refuses", 1),
    }


def test_a_server_tells_the_same_as_its_directory(directory):
    offline = analytics("--data", directory)
    server = Server(directory, "--demo")
    try:
        server.ready()
        url = f"http://127.0.0.1:{server.port}"
        assert json.loads(analytics(SAGAKEEP_URL=url)) == json.loads(offline)
    finally:
        server.close()


def test_people_get_tables(directory, monkeypatch):
    monkeypatch.setattr(screen, "is_for_people", lambda as_json: not as_json)
    shown = analytics("--data", directory, COLUMNS="160")
    assert "66.7%" in shown
    assert "shipping.fail always refuses" in shown
    assert analytics("--data", directory, "--name", "nobody") == "no saga matches\n"
    held = [dict(saga) for saga in sagas_in(directory) if saga["id"] == "done"]
    monkeypatch.setattr(tallied, "tally", lambda _sagas: tally([{**held[0], "status": "running"}]))
    running = analytics("--data", directory, COLUMNS="160")
    assert "%" not in running
    assert "FAILED STEP" not in running


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [(0, 50, None), (1, 99, 1), (2, 50, 1), (3, 50, 2), (100, 99, 99), (101, 99, 100), (10, 90, 9)],
)
def test_percentiles_are_nearest_ranks(count, percent, expected):
    assert percentile(range(1, count + 1), percent) == expected


def test_errors_beyond_the_bound_are_counted_together(directory, monkeypatch):
    monkeypatch.setattr(tallied, "ERRORS_MAX", 1)
    sagas = [saga for saga in sagas_in(directory) if saga["failedSteps"]]
    failures = tally(sagas * 2).failures
    assert sorted(one.error == OTHER_ERRORS for one in failures) == [False, True]
    assert [one.sagas for one in failures] == [2, 2]
