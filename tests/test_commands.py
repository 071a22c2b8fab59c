"""The commands for people, against a real server; what a terminal is shown, and what a pipe."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import click
import pytest
from click.testing import CliRunner
from demo_journal import order
from served import DEADLINE_S, Server

from sagakeep.cli import main
from sagakeep.commands import screen
from sagakeep.commands.client import Client
from sagakeep.commands.doctor import _clock, _directory_results
from sagakeep.commands.submit import exit_code_of
from sagakeep.commands.top import _headline, _picture
from sagakeep.errors import NoSuchThing, RequestRefused, ServerBusy, ServerUnreachable
from sagakeep.http.auth import Role, new_key
from sagakeep.moves import MOVES
from sagakeep.settings.sources import load_config


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("commands") / "data", "--demo")
    try:
        server.ready()
        yield server
    finally:
        server.close()


@pytest.fixture
def ask(server):
    """Run a command against the server."""

    def run(*args, **more):
        environ = {"SAGAKEEP_URL": f"http://127.0.0.1:{server.port}"}
        return CliRunner(env=environ).invoke(main, args, **more)

    return run


@pytest.fixture
def people(monkeypatch):
    monkeypatch.setattr(screen, "is_for_people", lambda as_json: not as_json)


def submit(ask, document, *args):
    return ask("submit", "-", *args, input=json.dumps(document))


def stuck(saga_id):
    return order(saga_id, reserve_inventory={"compensation": "fail"}, ship_order={"action": "fail"})


def lines_of(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


# submit


def test_a_saga_that_is_waited_for_gives_its_end_as_the_exit_code(ask):
    good = submit(ask, order("c-good"), "--wait", "20")
    assert (good.exit_code, json.loads(good.stdout)["status"]) == (0, "completed")
    undone = submit(ask, order("c-undone", ship_order={"action": "fail"}), "--wait", "20")
    assert (undone.exit_code, json.loads(undone.stdout)["status"]) == (1, "compensated")
    slow = order("c-slow", ship_order={"action": "wait", "payload": {"seconds": 600}})
    assert submit(ask, slow, "--wait", "0.2").exit_code == 3


def test_the_exit_codes_of_statuses():
    assert [exit_code_of(one) for one in ("completed", "compensated", "failed")] == [0, 1, 1]
    assert [exit_code_of(one) for one in ("compensation_failed", "running")] == [1, 3]


def test_one_key_begins_a_saga_once(ask):
    key = ("--idempotency-key", "k-1")
    document = {**order("x"), "id": ""}
    del document["id"]
    first, second = (submit(ask, document, *key) for _ in range(2))
    assert json.loads(first.stdout)["id"] == json.loads(second.stdout)["id"]


@pytest.mark.parametrize("as_lines", [False, True])
def test_many_sagas_are_begun_and_what_is_refused_makes_the_exit_code_1(ask, as_lines, people):
    sagas = [order(f"c-many-{as_lines}-{number}") for number in range(2)]
    text = "\n".join(map(json.dumps, sagas)) if as_lines else json.dumps(sagas)
    assert ask("submit", "-", input=text).exit_code == 0
    again = ask("submit", "-", "--json", input=text)
    assert again.exit_code == 1
    assert [result["status"] for result in lines_of(again)] == [409, 409]
    shown = ask("submit", "-", input=text)
    assert shown.exit_code == 1
    assert "refused" in shown.stdout


def test_what_is_for_one_saga_is_refused_for_many(ask):
    result = ask("submit", "-", "--wait", "1", input="[]")
    assert result.exit_code == 2
    assert "are for one saga" in result.stderr


def test_all_faults_of_a_document_are_told(ask):
    result = ask("submit", "-", input='{"name": "", "steps": []}')
    assert result.exit_code == 1
    assert "/name" in result.stderr
    assert "/steps" in result.stderr
    result = ask("submit", "-", input="{")
    assert (result.exit_code, "the server refuses that" in result.stderr) == (1, True)


# Looking


def test_a_list_is_json_lines_in_a_pipe_and_a_table_for_people(ask, people):
    submit(ask, order("c-list", ship_order={"action": "fail"}), "--wait", "20")
    submit(ask, order("c-list-2"), "--wait", "20")
    found = lines_of(
        ask("ls", "--json", "--status", "compensated", "--name", "order_processing", "--all")
    )
    assert "c-list" in [saga["id"] for saga in found]
    assert len(lines_of(ask("ls", "--json", "--limit", "1"))) == 1
    table = ask("ls", "--since", "1h", "--limit", "2").stdout.splitlines()
    assert table[0].split() == ["ID", "NAME", "STATUS", "DONE", "STEP", "CREATED"]
    assert len(table) == 3
    assert ask("ls", "--tag", "nobody=has").stdout == "no saga matches\n"
    assert ask("ls", "--since", "2026-01-01T00:00:00Z", "--limit", "1").exit_code == 0


def test_a_tag_without_a_value_and_a_time_that_is_none_are_told(ask):
    result = ask("ls", "--tag", "x")
    assert (result.exit_code, "no KEY=VALUE" in result.stderr) == (2, True)
    result = ask("ls", "--since", "yesterday")
    assert (result.exit_code, "/createdAfter" in result.stderr) == (1, True)


def test_a_saga_is_shown_as_it_is_and_as_it_was(ask, people):
    submit(ask, order("c-shown", ship_order={"action": "fail"}), "--wait", "20")
    assert json.loads(ask("get", "c-shown", "--json").stdout)["status"] == "compensated"
    assert json.loads(ask("get", "c-shown", "--json", "--at", "1").stdout)["status"] == "created"
    text = ask("get", "c-shown").stdout
    assert text.startswith("order_processing c-shown: compensated\nstep 'ship_order' failed:")
    assert "reserve_inventory" in text


def test_an_explanation_is_a_page_for_people(ask, people):
    submit(ask, stuck("c-why"), "--wait", "20")
    assert json.loads(ask("explain", "c-why", "--json").stdout)["status"] == "compensation_failed"
    page = ask("explain", "c-why").stdout
    assert "What happened\n" in page
    assert "sagakeep retry c-why" in page.replace("\n", " ")


def test_counts_are_shown(ask, people):
    assert json.loads(ask("stats", "--json").stdout)["totalSagas"] >= 0
    assert "completed" in ask("stats").stdout


def test_a_history_is_that_of_the_server_or_of_a_directory(ask, server, people):
    submit(ask, order("c-events"), "--wait", "20")
    online = lines_of(ask("events", "c-events", "--json"))
    directory = server.log.name.removesuffix(".log")
    assert lines_of(ask("events", directory, "c-events")) == online
    assert "saga_completed" in ask("events", "c-events").stdout
    missing = ask("events", "no-such-directory", "c-events")
    assert (missing.exit_code, "does not exist" in missing.stderr) == (2, True)


def test_a_saga_is_watched_to_its_end(ask, people):
    submit(ask, order("c-watched", ship_order={"action": "fail"}), "--wait", "20")
    result = ask("watch", "c-watched", "--json")
    assert result.exit_code == 1
    assert lines_of(result)[-1]["type"] == "saga_compensated"
    assert ask("watch", "c-watched").stdout.endswith("c-watched: compensated\n")


# Moves


def test_an_operator_finds_why_a_saga_is_stuck_and_moves_it(ask, people):
    submit(ask, order("c-moved"), "--wait", "20")
    spared = ask("cancel", "c-moved")
    assert spared.exit_code == 1
    assert "`sagakeep compensate c-moved` undoes it" in spared.stderr
    assert ask("compensate", "c-moved", "--reason", "late refund").stdout.startswith("c-moved: ")
    assert ask("watch", "c-moved").exit_code == 1
    events = lines_of(ask("events", "c-moved", "--json"))
    assert any(event["payload"].get("note") == "late refund" for event in events)
    refused = ask("compensate", "c-moved", "--step", "no-such-step")
    assert refused.exit_code == 1
    assert lines_of(ask("delete", "c-moved", "--json"))[0]["status"] == "deleted"
    gone = ask("get", "c-moved")
    assert (gone.exit_code, "`sagakeep ls` lists the sagas" in gone.stderr) == (1, True)


def test_an_undo_that_failed_is_done_by_hand_and_the_saga_ends(ask, people):
    submit(ask, stuck("c-hand"), "--wait", "20")
    moves = json.loads(ask("explain", "c-hand", "--json").stdout)["moves"]
    (offer,) = [move for move in moves if move["move"] == "resolve"]
    assert offer["body"] == {"stepID": "reserve_inventory", "as": "undone"}
    assert offer["command"] == "sagakeep resolve c-hand reserve_inventory --as undone"
    args = offer["command"].split()[1:]
    refused = ask("resolve", "c-hand", "process_payment", "--as", "done")
    assert refused.exit_code == 1
    assert "cannot be said to be done" in refused.stderr
    assert ask(*args, "--result", "{").exit_code == 2
    assert ask(*args, "--reason", "by telephone").stdout == "c-hand: compensated\n"
    events = lines_of(ask("events", "c-hand", "--json"))
    (said,) = [event for event in events if event["type"] == "step_resolved"]
    assert said["payload"] | {"resolution": "undone", "note": "by telephone"} == said["payload"]
    page = " ".join(ask("explain", "c-hand").stdout.split())
    assert "was said to be undone by local (by telephone)" in page


def test_what_is_said_by_hand_is_json_in_a_pipe(ask):
    submit(ask, stuck("c-hand-2"), "--wait", "20")
    (told,) = lines_of(ask("resolve", "c-hand-2", "reserve_inventory", "--as", "undone"))
    assert told == {"id": "c-hand-2", "status": "compensated", "error": ""}


def test_of_many_what_one_refuses_is_told_and_the_others_go_on(ask, people):
    submit(ask, stuck("c-one"), "--wait", "20")
    result = ask("retry", "nobody", "c-one", "--json")
    assert result.exit_code == 1
    nobody, one = lines_of(result)
    assert (nobody["status"], one["status"]) == ("refused", "compensating")
    assert "nobody: refused: there is no saga" in ask("retry", "nobody", "nobody").stdout


def test_a_saga_that_is_under_way_is_cancelled(ask):
    slow = order("c-cancel", ship_order={"action": "wait", "payload": {"seconds": 600}})
    submit(ask, slow)
    assert lines_of(ask("cancel", "c-cancel"))[0]["status"] == "compensating"


def unsendable(saga_id):
    failing = {"action": "fail", "payload": {"street": "Mian"}}
    return {**order(saga_id, ship_order=failing), "onFailure": "hold"}


def wait_for_status(ask, saga_id, status):
    deadline_s = time.monotonic() + DEADLINE_S
    while json.loads(ask("get", saga_id, "--json").stdout)["status"] != status:
        assert time.monotonic() < deadline_s, f"{saga_id} is not {status}"


def slow(saga_id):
    return order(saga_id, ship_order={"action": "wait", "payload": {"seconds": 600}})


def test_a_saga_is_paused_looked_at_and_resumed(ask, people):
    submit(ask, slow("c-pause"))
    assert ask("pause", "c-pause", "--reason", "the bank is down").stdout == "c-pause: running\n"
    shown = " ".join(ask("get", "c-pause").stdout.split())
    assert "paused since" in shown
    assert "by local (the bank is down)" in shown
    assert re.search(
        r"c-pause +order_processing +running, paused ", ask("ls", "--limit", "1").stdout
    )
    again = ask("pause", "c-pause")
    assert (again.exit_code, "it is paused already" in again.stderr) == (1, True)
    (told,) = lines_of(ask("resume", "c-pause", "--json"))
    assert told == {"id": "c-pause", "status": "running", "error": ""}
    assert "paused" not in ask("get", "c-pause").stdout


def test_a_stuck_step_is_sent_another_payload_then_skipped(ask, people):
    submit(ask, unsendable("c-edit"), "--wait", "20")
    moves = json.loads(ask("explain", "c-edit", "--json").stdout)["moves"]
    offers = {move["move"]: move for move in moves}
    assert offers["edit"]["body"]["payload"] == {"street": "Mian"}
    assert offers["edit"]["command"] == "sagakeep edit c-edit ship_order --payload JSON"
    assert ask("edit", "c-edit", "ship_order", "--payload", "{").exit_code == 2
    edited = ask("edit", "c-edit", "ship_order", "--payload", '{"street": "Main"}')
    assert edited.stdout == "c-edit: running\n"
    wait_for_status(ask, "c-edit", "failed")
    steps = json.loads(ask("get", "c-edit", "--json").stdout)["steps"]
    assert (steps[-1]["payload"], steps[-1]["isEdited"]) == ({"street": "Main"}, True)
    skipped = ask("skip", "c-edit", "ship_order", "--result", '{"by": "post"}')
    assert skipped.stdout == "c-edit: completed\n"
    assert "was skipped by local" in " ".join(ask("explain", "c-edit").stdout.split())


def test_a_saga_is_undone_down_to_a_step_as_it_was_planned(ask, people):
    submit(ask, order("c-down"), "--wait", "20")
    down = ("compensate", "c-down", "--down-to", "reserve_inventory")
    page = ask(*down, "--plan").stdout
    assert re.search(r"c-down: plan \d+-[0-9a-f]{16}\n", page)
    assert "payment.refund undoes step 'process_payment'" in " ".join(page.split())
    assert "then it stands still as failed" in " ".join(page.split())
    (plan,) = lines_of(ask(*down, "--plan", "--json"))
    assert ask("get", "c-down").stdout.startswith("order_processing c-down: completed")
    wrong = ask("compensate", "c-down", "--plan-id", plan["planId"])
    assert (wrong.exit_code, "plan it again" in wrong.stderr) == (1, True)
    assert ask(*down, "--plan-id", plan["planId"]).exit_code == 0
    wait_for_status(ask, "c-down", "failed")
    assert "was undone down to step 'reserve_inventory'" in ask("get", "c-down").stdout
    assert ask("retry", "c-down").exit_code == 0
    assert ask("watch", "c-down").exit_code == 0


def test_a_saga_is_ended_by_force_and_run_again(ask, people):
    submit(ask, stuck("c-force"), "--wait", "20")
    refused = ask("rerun", "c-force")
    assert (refused.exit_code, "has not ended" in refused.stderr) == (1, True)
    assert ask("finish", "c-force", "--reason", "too late").stdout == "c-force: abandoned\n"
    shown = " ".join(ask("get", "c-force").stdout.split())
    assert "step 'reserve_inventory' stays as it is" in shown
    told = ask("rerun", "c-force").stdout
    (new,) = re.findall(r"^c-force: abandoned, run again as (\S+)$", told, re.MULTILINE)
    assert lines_of(ask("rerun", "c-force", "--json"))[0]["rerunAs"] == new
    assert f"was run again as {new}" in ask("get", "c-force").stdout
    assert "runs c-force again" in ask("get", new).stdout


def test_every_move_of_the_machine_has_a_command():
    assert {kind.name for kind in MOVES} <= set(main.commands)


# top and doctor


def test_top_shows_counts_services_alerts_and_what_is_held(ask, people):
    submit(ask, stuck("c-held"), "--wait", "20")
    look = json.loads(ask("top", "--json").stdout)
    assert {"stats", "services", "alerts", "held"} == set(look)
    shown = ask("top", "--once").stdout
    assert "compensation_failed" in shown
    assert "inventory" in shown


def test_rates_are_of_what_has_changed_between_two_looks():
    before = {"totalSagas": 10, "byStatus": {"completed": 5, "compensated": 1}}
    now = {"totalSagas": 30, "runningSagas": 4, "byStatus": {"completed": 14, "compensated": 2}}
    assert _headline(now, before, 2.0) == "30 sagas, 4 running, 10 begun and 5 ended a second"


def test_top_marks_a_breaker_that_is_open_and_shows_alerts():
    from rich.console import Console

    breaker = {"state": "open"}
    service = {"name": "payment", "breaker": breaker, "inFlight": 0, "maxConcurrency": 8}
    alert = {"rule": "breaker_open", "since": "2026-01-01T00:00:00Z", "summary": "s", "advice": "a"}
    look = {
        "stats": {"totalSagas": 0, "runningSagas": 0, "byStatus": {"completed": 0}},
        "services": [{**service, "queued": 3, "attempts": 7}],
        "alerts": [alert],
        "held": [],
    }
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        console.print(_picture(look, None, 0.0))
    text = console.export_text()
    assert re.search(r"payment +open +0/8 +3 +0 +7", text)
    assert "breaker_open" in text


def held(ask, name, count):
    """So many sagas of a name that stand still."""
    for number in range(count):
        submit(ask, {**stuck(f"{name}-{number}"), "name": name}, "--wait", "20")


def test_many_sagas_are_moved_at_once_after_a_question(ask, people):
    held(ask, "c-bulk", 3)
    asked = ("bulk", "retry", "--name", "c-bulk", "--status", "compensation_failed")
    refused = ask(*asked)
    assert (refused.exit_code, "it wants a --yes" in refused.stderr) == (2, True)
    done = ask(*asked, "--reason", "it is mended", "--yes")
    assert (done.exit_code, done.stdout) == (0, "3 moved, 0 refused, 0 failed\n")
    assert "it is mended" in ask("events", "c-bulk-1", "--json").stdout
    again = ask("bulk", "retry", "--name", "nobody", "--yes")
    assert (again.exit_code, again.stdout) == (0, "no saga matches\n")


def test_who_does_not_move_is_told_and_makes_the_exit_code_1(ask, people, monkeypatch):
    from sagakeep.commands import bulk

    monkeypatch.setattr(bulk, "REFUSED_SHOWN", 1)
    for number in range(2):
        submit(ask, {**order(f"c-whole-{number}"), "name": "c-whole"}, "--wait", "20")
    result = ask("bulk", "retry", "--name", "c-whole", "--yes")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].split() == ["ID", "OUTCOME", "STATUS", "WHY"]
    assert "... and 1 more" in result.stdout
    assert result.stdout.endswith("0 moved, 2 refused, 0 failed\n")
    lines = lines_of(ask("bulk", "retry", "--name", "c-whole", "--yes", "--json"))
    assert [(one["outcome"], one["status"]) for one in lines] == [("refused", "completed")] * 2


def test_a_bulk_says_what_its_move_needs(ask):
    held(ask, "c-by-hand", 2)
    body = json.dumps({"stepID": "reserve_inventory", "as": "undone"})
    result = ask("bulk", "resolve", "--name", "c-by-hand", "--body", body, "--yes")
    assert [one["outcome"] for one in lines_of(result)] == ["moved", "moved"]
    for text in ("{", "[]"):
        assert ask("bulk", "resolve", "--body", text).exit_code == 2
    result = ask("bulk", "resolve", "--name", "c-by-hand", "--tag", "k=v")
    assert (result.exit_code, "/body/stepID" in result.stderr) == (1, True)
    assert ask("bulk", "nothing").exit_code == 1


@pytest.mark.parametrize(("answer", "is_agreed"), [("y", True), ("n", False)])
def test_a_bulk_shows_some_and_asks_who_can_answer(monkeypatch, answer, is_agreed):
    from sagakeep.commands.bulk import _is_agreed

    with CliRunner().isolation(input=f"{answer}\n") as (_, errors, _):
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        plan = {"move": "retry", "count": 12, "sample": ["a", "b"]}
        assert _is_agreed(plan) is is_agreed
        asked = errors.getvalue().decode()
    assert asked.startswith("a, b, ...\nretry 12 sagas? [y/N]: ")


def test_a_bulk_that_is_cut_off_says_so(capsys):
    from sagakeep.commands.bulk import _sums

    line = {"id": "a", "outcome": "moved"}
    end = {"moved": 1, "refused": 0, "failed": 0, "error": ""}
    seen = []
    assert _sums(iter([{"count": 2}, line]), seen.append)["cut"] == 1
    assert _sums(iter([{"count": 1}, line, end]), seen.append)["cut"] == 0
    assert seen == [line, line]
    assert _sums(iter([{**end, "error": "stopping"}]), seen.append)["cut"] == 1
    assert capsys.readouterr().err == "the rest was not asked: stopping\n"


def test_a_service_is_paused_and_resumed_and_says_why(ask, people):
    assert ask("service", "pause", "shipping", "--reason", "they move").stdout.startswith(
        "shipping: paused; "
    )
    table = ask("service", "ls").stdout
    assert table.split("\n")[0].split() == [
        "SERVICE",
        "STATE",
        "IN",
        "FLIGHT",
        "QUEUED",
        "CALLS",
        "WHY",
    ]
    assert re.search(r"shipping +paused +\d+/\d+ +\d+ +\d+ +since 20", table)
    assert "local: they move" in " ".join(table.split())
    assert "paused" in ask("top", "--once").stdout
    submit(ask, order("c-paused"))
    assert "waits for service 'shipping' to be resumed" in _explained(ask, "c-paused")
    shown = json.loads(ask("service", "resume", "shipping", "--json").stdout)
    assert shown["paused"] is None
    assert ask("watch", "c-paused").exit_code == 0
    assert [one["paused"] for one in lines_of(ask("service", "ls", "--json"))] == [None] * 3
    assert ask("service", "resume", "shipping").stdout.startswith("shipping: may be called; ")


def _explained(ask, saga_id):
    """The explanation, once the saga waits in a queue."""
    until_s = time.monotonic() + DEADLINE_S
    while "to be resumed" not in (text := ask("explain", saga_id).stdout):
        assert time.monotonic() < until_s, text
    return text


def test_all_of_a_service_is_retried(ask, people):
    held(ask, "c-of-inventory", 1)
    shown = ask("service", "retry", "inventory", "--reason", "it is mended").stdout
    assert re.fullmatch(r"inventory: [1-9]\d* sagas go on, 0 refused\n", shown)
    done = json.loads(ask("service", "retry", "shipping", "--json").stdout)
    assert done["refused"] == 0


def test_a_service_that_nobody_knows_is_told(ask):
    result = ask("service", "pause", "nobody")
    assert (result.exit_code, "there is no service 'nobody'" in result.stderr) == (1, True)


def test_a_doctor_finds_all_well_and_what_is_not(ask, server, people):
    directory = server.log.name.removesuffix(".log")
    looks = {one["name"]: one for one in lines_of(ask("doctor", "--json", "--data", directory))}
    assert looks["server"]["mark"] == looks["journal"]["mark"] == "good"
    assert looks["directory"]["mark"] == "good"
    assert "service payment" in looks
    assert "WHAT TO DO" in ask("doctor").stdout


def test_a_doctor_says_what_to_do_when_nobody_answers():
    result = CliRunner().invoke(main, ["doctor", "--url", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    (one,) = lines_of(result)
    assert (one["mark"], "sagakeep serve" in one["remedy"]) == ("bad", True)


def test_a_clock_that_is_wrong_and_a_directory_that_others_read_are_warnings(tmp_path):
    assert _clock("Thu, 01 Jan 2026 00:00:00 GMT").mark == "warning"
    assert _clock("").mark == "warning"
    os.chmod(tmp_path, 0o755)
    mode, space = _directory_results(str(tmp_path))
    assert (mode.mark, space.name) == ("warning", "space")


# Keys and addresses


def test_a_key_is_asked_for_and_found_in_a_file_or_the_environment(tmp_path):
    text, sha256 = new_key(Role.VIEWER)
    path = tmp_path / "key"
    path.write_text(text + "\n")
    keys = {"NAME": "ada", "SHA256": sha256, "ROLE": "viewer"}
    server = Server(
        tmp_path / "data",
        **{f"SAGAKEEP_AUTH__KEYS__0__{name}": value for name, value in keys.items()},
    )
    try:
        server.ready()
        url = ("--url", f"http://127.0.0.1:{server.port}")
        refused = CliRunner().invoke(main, ["ls", *url])
        assert refused.exit_code == 1
        assert "SAGAKEEP_TOKEN" in refused.stderr
        assert CliRunner().invoke(main, ["ls", *url, "--token-file", str(path)]).exit_code == 0
        assert CliRunner(env={"SAGAKEEP_TOKEN": text}).invoke(main, ["ls", *url]).exit_code == 0
        doctor = CliRunner().invoke(main, ["doctor", *url])
        assert lines_of(doctor)[-1]["name"] == "key"
        viewer = CliRunner(env={"SAGAKEEP_TOKEN": text}).invoke(main, ["retry", "x", *url])
        assert (viewer.exit_code, "does not allow that" in viewer.stderr) == (1, True)
    finally:
        server.close()


def test_where_no_server_is_the_command_says_how_to_start_one():
    result = CliRunner().invoke(main, ["ls", "--url", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "`sagakeep serve` starts one" in result.stderr


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "unix:"])
def test_what_is_no_address_is_told(url):
    with pytest.raises(ServerUnreachable, match="is no address"):
        Client(url)


def test_a_server_is_asked_for_its_variables_and_a_command_for_its_own():
    config = load_config(None, {"SAGAKEEP_URL": "http://x", "SAGAKEEP_TOKEN": "y"}, {})
    assert config.bind == "127.0.0.1:8080"


# The client, against answers that no server of ours gives


class Scripted:
    """Answers each connection with the next bytes, then closes it."""

    def __init__(self, family, address, answers):
        self.socket = socket.socket(family)
        self.socket.bind(address)
        self.socket.listen()
        self.heads = []
        self._answers = answers
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        for answer in self._answers:
            connection, _ = self.socket.accept()
            with connection:
                self.heads.append(connection.recv(65536))
                connection.sendall(answer)

    def close(self):
        self._thread.join(DEADLINE_S)
        self.socket.close()


def scripted(*answers):
    server = Scripted(socket.AF_INET, ("127.0.0.1", 0), answers)
    return server, f"http://127.0.0.1:{server.socket.getsockname()[1]}"


def test_a_unix_socket_is_an_address(tmp_path):
    path = str(tmp_path / "s")
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
    server = Scripted(socket.AF_UNIX, path, [answer])
    assert Client(f"unix:{path}").get("/x") == "hi"
    server.close()


def test_a_stream_goes_on_behind_the_last_event_when_the_connection_is_lost():
    stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    first = stream + b': hello\n\nid: 1\ndata: {"seq": 1}\n\n'
    second = stream + b'id: 2\ndata: {"seq": 2}\n\n'
    busy = b"HTTP/1.1 503 x\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    cut = b"HTTP/1.1 200 OK\r\nContent-Le"
    over = b"HTTP/1.1 204 No Content\r\n\r\n"
    server, url = scripted(first, busy, cut, second, over)
    pauses = []
    seen = list(Client(url, sleep=pauses.append).stream("/x"))
    server.close()
    assert [event["seq"] for event in seen] == [1, 2]
    assert [re.search(rb"Last-Event-ID: (\d)", head)[1] for head in server.heads] == [
        *(b"0", b"1", b"1", b"1", b"2")
    ]
    assert len(pauses) == 2


def test_a_stream_gives_up_when_nobody_answers_for_long():
    pauses = []
    with pytest.raises(ServerUnreachable, match="refused"):
        list(Client("http://127.0.0.1:1", sleep=pauses.append).stream("/x"))
    assert len(pauses) == 30
    empty = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    server, url = scripted(*[empty] * 31)
    with pytest.raises(ServerUnreachable, match="without an event"):
        list(Client(url, sleep=pauses.append).stream("/x"))
    server.close()


def test_a_stream_of_nobody_is_told_at_once():
    server, url = scripted(b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(NoSuchThing):
        list(Client(url).stream("/x"))
    server.close()


def test_answers_that_are_no_problem_documents_are_told_as_they_are():
    page = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops"
    server, url = scripted(page)
    with pytest.raises(RequestRefused, match="status 502: oops"):
        Client(url).get("/x")
    server.close()
    body = b'{"title": "Busy"}'
    head = b"HTTP/1.1 503 x\r\nContent-Type: application/problem+json\r\nRetry-After: 7\r\n"
    server, url = scripted(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    with pytest.raises(ServerBusy, match="Busy; try again in 7 s"):
        Client(url).get("/x")
    server.close()


def test_a_body_that_is_cut_short_is_a_server_that_cannot_be_reached():
    server, url = scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    with pytest.raises(ServerUnreachable):
        Client(url).get("/x")
    server.close()


def test_a_doctor_knows_that_something_else_answers(people):
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    server, url = scripted(page)
    result = CliRunner().invoke(main, ["doctor", "--url", url])
    server.close()
    assert (result.exit_code, "it is no sagakeep" in result.stdout) == (1, True)


# A real terminal


def test_a_terminal_gets_colours_and_a_live_screen_that_ends_with_an_interrupt(ask, server):
    submit(ask, order("c-pty"), "--wait", "20")
    environ = {**os.environ, "SAGAKEEP_URL": f"http://127.0.0.1:{server.port}", "TERM": "xterm"}
    assert b"\x1b[32mcompleted" in on_terminal(["get", "c-pty"], environ)
    assert b"\x1b[32m" not in on_terminal(["get", "c-pty"], {**environ, "NO_COLOR": "1"})
    shown = on_terminal(["top", "--every", "0.1"], environ, until=b"begun and")
    assert b"ended a second" in shown


def on_terminal(args, environ, until=b""):
    """Run a command on a terminal of its own; interrupt it once it has written `until`."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sagakeep", *args],
        stdin=follower,
        stdout=follower,
        env=environ,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # whoever started us ignores it
    )
    os.close(follower)
    written = b""
    ends_s = time.monotonic() + DEADLINE_S
    try:
        while select.select([leader], [], [], DEADLINE_S)[0] and time.monotonic() < ends_s:
            try:
                written += os.read(leader, 65536)
            except OSError:
                break
            if until and until in written:
                process.send_signal(signal.SIGINT)
                until = b""
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        os.close(leader)
    return written


# The page


def all_commands(commands, before=""):
    """Every command by its whole name, those of groups too."""
    for name, command in commands.items():
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from all_commands(command.commands, f"{before}{name} ")


def test_the_page_has_every_command_and_every_option():
    with open("docs/cli.md") as file:
        page = file.read()
    for name, command in all_commands(main.commands):
        assert f"`sagakeep {name}" in page, name
        for option in command.params:
            if isinstance(option, click.Option) and name.split()[0] not in ("config", "key"):
                assert option.opts[-1] in page, (name, option.opts)
