"""Real services on loopback are graded, and the grade names what is wrong with each."""

from __future__ import annotations

import json

import pytest
import trio
from click.testing import CliRunner
from graded_services import ByHand, ByPostgres, BySqlite, Ledgered, Naive, open_service
from http_peer import open_peer

from sagakeep.cli import main
from sagakeep.errors import ConfigurationError
from sagakeep.grade import subject as subject_module
from sagakeep.grade.command import read_target, run_exam
from sagakeep.grade.effects import Effects, Ledger, LedgerUnreadable
from sagakeep.grade.exam import CHECKS, CannotGrade, Verdict, examine
from sagakeep.grade.expect import CAME_CHARS_MAX, summary_of, text_of
from sagakeep.grade.paper import print_json, print_report
from sagakeep.grade.subject import Target
from sagakeep.participant.middleware import SagaMiddleware
from sagakeep.participant.store import SqliteStore
from sagakeep.service import AttemptResult, Outcome

WAYS = pytest.mark.parametrize("has_ledger", [True, False], ids=["ledger", "answers"])


async def grade(app, *, has_ledger=True, **changes):
    async with open_service(app) as url:
        words = {"action": "charge", "compensation": "refund", "probe": "status", **changes}
        ledger_url = f"{url}/ledger" if has_ledger else ""
        return await examine(Target(url, **words), ledger_url=ledger_url)


def codes(report, verdict):
    return {one.check.code for one in report.findings if one.verdict is verdict}


def failed(report):
    return codes(report, Verdict.FAILED)


# What is well made


@WAYS
async def test_a_service_that_does_all_by_itself_gets_an_a(has_ledger):
    report = await grade(ByHand(), has_ledger=has_ledger)
    assert (report.grade, failed(report)) == ("A", set())
    assert codes(report, Verdict.PASSED) == {check.code for check in CHECKS}


@WAYS
async def test_a_naive_service_behind_the_middleware_gets_an_a(tmp_path, has_ledger):
    store = SqliteStore(str(tmp_path / "calls.sqlite"))
    report = await grade(SagaMiddleware(Naive(), store), has_ledger=has_ledger)
    store.close()
    assert (report.grade, report.count(Verdict.PASSED)) == ("A", len(CHECKS))


@WAYS
async def test_a_service_with_the_barrier_in_sqlite_gets_an_a(tmp_path, has_ledger):
    report = await grade(BySqlite(str(tmp_path / "service.sqlite")), has_ledger=has_ledger)
    assert (report.grade, report.count(Verdict.PASSED)) == ("A", len(CHECKS))


async def test_a_service_with_the_barrier_in_postgres_gets_an_a(postgres):
    report = await grade(ByPostgres(postgres()))
    assert (report.grade, report.count(Verdict.PASSED)) == ("A", len(CHECKS))


async def test_a_service_without_undo_and_probe_is_graded_by_what_it_has():
    report = await grade(ByHand(), compensation="", probe="")
    assert report.grade == "A"
    needing = {check.code for check in CHECKS if check.needs}
    assert codes(report, Verdict.NOT_APPLICABLE) == needing
    (finding,) = (one for one in report.findings if one.check.code == "probe-undone")
    assert finding.reason == "no compensation and no probe given"


async def test_the_naive_service_alone_gets_an_f():
    """What the middleware protects is nothing by itself."""
    report = await grade(Naive(), probe="")
    assert report.grade == "F"
    assert {"repeat", "repeat-at-once", "late-action", "second-undo"} <= failed(report)


# What is not: each fault is named, and nothing else

FAULTS = {
    # fault: the grade by answers; what has failed; what may or may not, by who came first
    "no-keys": ("F", "repeat repeat-at-once other-body undo-again", ""),
    "race": ("F", "repeat-at-once", "undo-while-running"),
    "refuses-when-busy": ("C", "repeat-at-once", "undo-while-running"),
    "other-body": ("B", "other-body", ""),
    "new-answer": ("F", "repeat repeat-at-once undo-again", ""),
    "done-after-undo": ("F", "action-after-undo orders", "undo-while-running"),
    "second-undo": ("C", "second-undo", ""),
    "undo-forgets": ("F", "undo-again", ""),
    "empty-undo": ("D", "empty-undo second-undo", ""),
    "no-bar": ("F", "late-action orders", "undo-while-running"),
    "bars-the-step": ("C", "new-action", ""),
    "probe-404": ("D", "probe-done probe-nothing", ""),
    "probe-history": ("C", "probe-undone", ""),
    "probe-empty": ("C", "probe-done", ""),
    "probe-no-bar": ("F", "action-after-probe", ""),
    "garbage": ("B", "no-key huge-key no-phase", ""),
    "short-column": ("C", "longest-key huge-key", ""),
}
WITH_LEDGER = {"race": "F", "new-answer": "D", "undo-forgets": "B"}  # where it tells more


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_grade_names_what_is_wrong_and_nothing_else(fault):
    expected, certain, perhaps = FAULTS[fault]
    report = await grade(ByHand(fault), has_ledger=False)
    assert failed(report) - set(perhaps.split()) == set(certain.split())
    assert report.grade == expected
    for finding in report.findings:
        assert bool(finding.reason) == (finding.verdict is not Verdict.PASSED)


@pytest.mark.parametrize("fault", WITH_LEDGER)
async def test_a_ledger_tells_a_wrong_answer_from_a_wrong_effect(fault):
    _, certain, perhaps = FAULTS[fault]
    report = await grade(ByHand(fault))
    assert failed(report) - set(perhaps.split()) == set(certain.split())
    assert report.grade == WITH_LEDGER[fault]


async def test_a_ledger_that_does_not_count_undos_says_nothing_of_them():
    class Short(ByHand):
        def counts(self):
            return self.actions

    report = await grade(Short("undo-forgets"))
    assert (report.grade, failed(report)) == ("F", {"undo-again"})


async def test_an_undo_that_is_blind_is_found_by_the_ledger():
    report = await grade(ByHand("undo-blindly"))
    assert report.grade == "F"
    assert {"second-undo", "empty-undo", "late-action", "action-after-undo"} <= failed(report)


async def test_calls_that_are_told_apart_by_their_body_are_found():
    report = await grade(ByHand("by-body"))
    assert report.grade == "F"
    assert "other-key" in failed(report)


async def test_what_builds_on_a_failure_is_blocked_and_does_not_count():
    report = await grade(ByHand("probe-404"))
    assert codes(report, Verdict.BLOCKED) == {"action-after-probe", "probe-undone"}


# Bounds


async def test_a_service_that_hangs_in_the_end_is_cut_off_and_does_not_pass():
    class Slow(ByHand):
        async def answer(self, headers, body):
            if self.actions > 5:
                await trio.sleep_forever()
            return await super().answer(headers, body)

    async with open_service(Slow()) as url:
        target = Target(url, "charge", timeout_s=60.0)
        report = await examine(target, within_s=0.5)
    assert report.grade == "D"
    assert codes(report, Verdict.NOT_RUN)
    assert len(report.findings) == len(CHECKS)
    assert "cut off" in report.findings[-1].reason


async def test_a_request_has_a_bound_of_its_own():
    class Hanging(Ledgered):
        async def answer(self, headers, body):
            await trio.sleep_forever()

    with pytest.raises(CannotGrade, match=r"unknown: no answer within 0\.1 s: a plain action"):
        await grade(Hanging(), has_ledger=False, timeout_s=0.1)


async def test_an_exam_ends_after_so_many_requests(monkeypatch):
    monkeypatch.setattr(subject_module, "REQUESTS_MAX", 30)
    report = await grade(ByHand())
    assert report.requests == 30
    assert report.grade == "D"


async def test_a_service_that_says_ask_again_is_asked_again():
    class Busy(ByHand):
        def __init__(self):
            super().__init__()
            self.count = 0

        async def answer(self, headers, body):
            self.count += 1
            if self.count % 3 == 0:
                return 503, {"retry-after": "0"}, b""
            return await super().answer(headers, body)

    report = await grade(Busy(), duplicates=2)
    assert failed(report) <= {"no-key", "no-phase", "longest-key"}, "those are sent once"


async def test_a_service_that_is_always_busy_cannot_be_graded():
    class Busy(Ledgered):
        async def answer(self, headers, body):
            self.actions += 1
            return 429, {}, b""

    busy = Busy()
    with pytest.raises(CannotGrade, match="not yet: HTTP 429"):
        await grade(busy)
    assert busy.actions == 8


# What cannot be graded


async def test_a_service_that_refuses_a_plain_action_cannot_be_graded():
    class Refusing(Ledgered):
        async def answer(self, headers, body):
            return 422, {}, b'{"detail": "amount is missing"}'

    with pytest.raises(CannotGrade, match="refused: HTTP 422: amount is missing: a plain action"):
        await grade(Refusing())


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [("many", "many"), (True, "true"), ({"actions": "3"}, "expected"), ([], "expected")],
)
async def test_a_ledger_that_says_no_counts_ends_the_exam(counts, complaint):
    class Odd(ByHand):
        def counts(self):
            return counts

    with pytest.raises(CannotGrade, match=complaint):
        await grade(Odd())


async def test_a_ledger_may_count_the_actions_only():
    class Short(ByHand):
        def __init__(self, as_number):
            super().__init__()
            self._as_number = as_number

        def counts(self):
            return self.actions if self._as_number else {"actions": self.actions}

    for as_number in (True, False):
        assert (await grade(Short(as_number))).grade == "A"


async def test_a_ledger_is_read_without_following_redirects():
    async def script(visit):
        await visit.request()
        await visit.reply(302, b"", "Location: http://127.0.0.1:1/")

    async with open_peer(script) as url:
        with pytest.raises(LedgerUnreadable, match="302"):
            await Ledger(url, {}, 5.0).effects()
    with pytest.raises(ConfigurationError, match="ledger url"):
        Ledger("ftp://x", {}, 1.0)


def test_effects_are_counted_since():
    assert Effects(3, 2).since(Effects(1, 2)) == Effects(2, 0)
    assert Effects(3, None).since(Effects(1, None)) == Effects(2, None)
    assert Effects(1, None).fits(1, 7)
    assert not Effects(1, 0).fits(1, 1)


# What is told


def test_long_answers_are_cut():
    text = text_of(AttemptResult(Outcome.DONE, "x" * 500))
    assert len(text) == CAME_CHARS_MAX
    results = [AttemptResult(Outcome.DONE, number) for number in (1, 1, 2, 3, 4)]
    assert summary_of(results, text_of) == "2 x done 1; 1 x done 2; 1 x done 3; ..."


async def test_a_report_is_printed_for_people(capsys):
    print_report(await grade(ByHand("no-bar"), has_ledger=False))
    told = capsys.readouterr().out
    assert "late-action: an action that comes after its undo is refused (critical)" in told
    assert "  why   networks reorder" in told
    assert "  mend  when an undo finds no action" in told
    assert "grade F: " in told
    assert "without a ledger only the answers were compared" in told


async def test_what_a_service_says_moves_no_cursor(capsys):
    class Rude(ByHand):
        def _keep(self, key, answer, body):
            return super()._keep(key, (answer[0], "\x1b[2J[red]x[/red]"), body)

    print_report(await grade(Rude("no-bar"), has_ledger=False))
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "[red]x[/red]" in told


async def test_a_report_is_printed_for_programs(capsys):
    print_json(await grade(ByHand("bars-the-step")))
    document = json.loads(capsys.readouterr().out)
    assert (document["grade"], document["ledger"]) == ("C", True)
    (check,) = (one for one in document["checks"] if one["verdict"] == "failed")
    assert check["code"] == "new-action"
    assert check["severity"] == "major"
    assert check["exchanges"][0] == {"sent": "undo", "came": 'done {"undone": false}'}
    assert check["why"]
    assert check["mend"]


async def test_whoever_watches_is_told_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    async with open_service(ByHand("probe-empty")) as url:
        await run_exam(Target(url, "charge", probe="status"), "", 60.0)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "repeat ok"
    assert "probe-done FAILED" in told
    assert "undo -" in told


# The command line


def options(**changes):
    words = {
        "url": "http://127.0.0.1:1",
        "action": "charge",
        "compensation": "",
        "probe": "",
        "payload": "{}",
        "compensation_payload": None,
        "headers": (),
        "duplicates": 8,
        "ledger_url": "",
        "timeout": 10.0,
    }
    return {**words, **changes}


def test_a_target_is_read(tmp_path):
    file = tmp_path / "order.json"
    file.write_text('{"amount": 5}')
    headers = ("Authorization: Bearer a:b", "X-Own:1")
    target = read_target(options(payload=f"@{file}", compensation_payload="[1]", headers=headers))
    assert target.payload == {"amount": 5}
    assert target.compensation_payload == [1]
    assert target.headers == {"Authorization": "Bearer a:b", "X-Own": "1"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"payload": "{"}, "--payload: "),
        ({"payload": "@missing.json"}, "--payload: .*missing.json"),
        ({"compensation_payload": "nope"}, "--compensation-payload: "),
        ({"headers": ("secret-without-colon",)}, "^--header: want NAME: VALUE$"),
        ({"headers": (": secret",)}, "^--header: want NAME: VALUE$"),
        ({"action": "a\nb"}, "is no name"),
        ({"probe": "p" * 129}, "is no name"),
    ],
)
def test_a_target_that_cannot_be_is_refused_and_no_secret_is_told(change, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        read_target(options(**change))


async def run_command(*args):
    """Run it in a thread, beside the service."""
    return await trio.to_thread.run_sync(CliRunner().invoke, main, ["grade", *args])


async def test_the_command_ends_with_0_for_an_a_and_1_for_less_and_2_for_none():
    names = ["--action", "charge", "--compensation", "refund", "--probe", "status"]
    async with open_service(ByHand()) as url:
        done = await run_command(url, *names, "--yes", "--json")
        assert (done.exit_code, done.stderr) == (0, "")
        assert json.loads(done.stdout)["grade"] == "A"
    async with open_service(ByHand("no-bar")) as url:
        done = await run_command(url, *names, "--yes", "--ledger-url", f"{url}/ledger")
        assert done.exit_code == 1
        assert "grade F" in done.stdout
    done = await run_command(url, *names, "--yes", "--timeout", "1")
    assert done.exit_code == 2
    assert "no connection" in done.stderr
    done = await run_command("nonsense", *names, "--yes")
    assert done.exit_code == 2
    assert "want http://HOST" in done.stderr


async def test_the_command_sends_nothing_that_nobody_agreed_to(monkeypatch):
    service = ByHand()
    async with open_service(service) as url:
        done = await run_command(url, "--action", "charge")
        assert done.exit_code == 2
        assert "nothing was sent: it makes real effects" in done.stderr
        monkeypatch.setattr("sagakeep.cli.click.confirm", lambda question, err: False)
        monkeypatch.setattr("sagakeep.cli._is_terminal", lambda: True)
        assert (await run_command(url, "--action", "charge")).exit_code == 2
        assert service.actions == 0
        monkeypatch.setattr("sagakeep.cli.click.confirm", lambda question, err: True)
        assert (await run_command(url, "--action", "charge")).exit_code == 0
    assert service.actions
