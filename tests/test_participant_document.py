"""docs/participant.md is carried out: its programs run, its statements are made, its grades are given."""

from __future__ import annotations

import json
import re
import sqlite3

import pytest
from graded_services import Ledgered, open_service
from pages import ROOT, blocks, section
from participant_world import request, respond

from sagakeep.grade.exam import CHECKS, Report, Verdict, examine
from sagakeep.grade.paper import print_report
from sagakeep.grade.subject import Target
from sagakeep.participant.middleware import SagaMiddleware
from sagakeep.participant.store import SqliteStore

PAGE = (ROOT / "docs/participant.md").read_text()
TARGET = {"action": "charge", "compensation": "refund", "probe": "status", "payload": {"amount": 5}}
KEY = "order-1/charge/action/1"


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """The names of the page's two programs."""
    monkeypatch.chdir(tmp_path)
    names = [{}, {}]
    for text, found in zip(blocks(PAGE, "python"), names, strict=True):
        exec(text.text, found)
    yield names
    names[0]["db"].close()
    names[1]["app"]._store.close()


class OfFunctions(Ledgered):
    """The page's functions, each at its own path."""

    def __init__(self, names):
        super().__init__()
        self._names = names

    async def answer(self, headers, body):
        name = {"action": "charge", "compensation": "refund", "probe": "charge_status"}
        phase = headers.get("saga-phase", "action")
        return self._names[name.get(phase, "charge")](headers, body)


async def test_the_functions_with_the_barrier_get_an_a(kit):
    async with open_service(OfFunctions(kit[0])) as url:
        report = await examine(Target(url, **TARGET))
    assert report.grade == "A"
    assert report.count(Verdict.PASSED) == len(CHECKS)


def test_the_functions_with_the_barrier_refuse_and_keep_it(kit):
    headers = {"Idempotency-Key": KEY}
    for _ in range(2):
        status, _, body = kit[0]["charge"](headers, b'{"amount": 5000}')
        assert (status, json.loads(body)["detail"]) == (422, "over the limit")
    assert kit[0]["db"].execute("SELECT count(*) FROM charges").fetchone() == (0,)


async def test_the_application_is_graded_as_the_page_says(kit, capsys):
    first, second = blocks(PAGE, "text")
    async with open_service(_without_lifespan(kit[1]["payment"])) as url:
        print_report(await examine(Target(url, **TARGET)))
    expect_told(first.text, capsys.readouterr().out)
    async with open_service(_without_lifespan(kit[1]["app"])) as url:
        report = await examine(Target(url, **TARGET))
    assert report.grade == "A"
    assert second.text.startswith(f"grade A: {report.count(Verdict.PASSED)} passed; ")


def _without_lifespan(app):
    async def both(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        await app(scope, receive, send)

    return both


def expect_told(told, printed):
    """Each line is there, in this order; numbers of what depends on who came first may differ."""
    lines = [_without_numbers(line) for line in printed.splitlines()]
    at = 0
    for line in told.splitlines():
        if line != "...":
            assert _without_numbers(line) in lines[at:], line
            at = lines.index(_without_numbers(line), at) + 1


def _without_numbers(line):
    line = re.sub(r'\{"charge": \d+\}', '{"charge": n}', line)
    return " ".join(re.sub(r"\d+ requests", "n requests", line).split())


async def test_doubt_is_ended_by_hand(tmp_path):
    run_again, it_happened = (block.text for block in blocks(PAGE, "sql"))

    async def app(scope, receive, send):
        await respond(send, 500, None)

    for statement, expected in ((run_again, (500, "null")), (it_happened, (200, '{"charge": 1}'))):
        path = tmp_path / f"{len(statement)}.sqlite"
        store = SqliteStore(str(path))
        both = SagaMiddleware(app, store)
        await request(both, {"Idempotency-Key": KEY})
        status, _, body = await request(both, {"Idempotency-Key": KEY})
        assert (status, json.loads(body)["title"]) == (500, "In doubt")
        db = sqlite3.connect(path)
        with db:
            assert db.execute(statement).rowcount == 1
        db.close()
        status, _, body = await request(both, {"Idempotency-Key": KEY})
        assert (status, body.decode()) == expected
        store.close()


def test_every_check_is_told():
    told = re.findall(r"^\| `([\w-]+)` \| (.+) \| (\w+) \|$", PAGE, re.MULTILINE)
    assert told == [(check.code, check.title, check.severity) for check in CHECKS]


def test_every_option_is_told():
    from sagakeep.cli import main

    options = {one for param in main.commands["grade"].params for one in param.opts if "--" in one}
    text = section(PAGE, "Grade a service")
    assert not {one for one in options if f"`{one}" not in text}


def test_every_grade_is_told():
    text = section(PAGE, "Grade a service")
    assert re.findall(r"^\| ([A-F]) \|", text, re.MULTILINE) == ["A", "B", "C", "D", "F"]
    assert Report("", (), 0, 0.0, False).grade == "A"


async def test_the_service_of_the_guide_gets_an_a(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks((ROOT / "docs/guide.md").read_text(), "python")[0].text, names)
    async with open_service(_without_lifespan(names["app"])) as url:
        report = await examine(Target(url, **TARGET))
    names["db"].close()
    assert report.grade == "A"
    assert report.count(Verdict.PASSED) == len(CHECKS)
