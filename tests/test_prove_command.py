"""`sagakeep prove FILE`: what is printed for people and for programs, and how it ends."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from click.testing import CliRunner
from pages import ROOT, section

from sagakeep.cli import main
from sagakeep.proof.command import _Counter
from sagakeep.proof.listing import STORIES_SHOWN_MAX

STEP = {"id": "a", "service": "s", "action": "do", "compensation": "undo", "maxRetries": 1}
SAGA = {"name": "n", "steps": [STEP | {"compensationMaxRetries": 1}]}
BLIND = "[services.s]\nidempotent = false\n"


@pytest.fixture
def prove(tmp_path, monkeypatch):
    """Write a saga and what its services promise, and prove it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saga.json").write_text(json.dumps(SAGA))

    def run(*options, saga=None, services=None):
        if saga is not None:
            (tmp_path / "saga.json").write_text(saga)
        if services is not None:
            (tmp_path / "services.toml").write_text(services)
            options = ("--services", "services.toml", *options)
        return CliRunner().invoke(main, ["prove", "saga.json", *options])

    return run


def test_a_saga_that_holds_ends_with_0_and_a_table(prove):
    result = prove()
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["what", "goes", "wrong", "worlds", "hold"]
    assert lines[1].split() == ["nothing", "1", "1"]
    assert "ends: " in result.stdout
    assert re.search(r"^saga.json: (\d+) worlds, \1 hold$", result.stdout, re.MULTILINE)
    assert re.search(r"^\d+ more are left out; --all plays them$", result.stdout, re.MULTILINE)


def test_a_saga_that_does_not_hold_ends_with_1_and_three_stories(prove):
    result = prove(services=BLIND)
    assert (result.exit_code, result.stderr) == (1, "")
    told = re.findall(r"^world (\d) that does not hold$", result.stdout, re.MULTILINE)
    assert told == ["1", "2", "3"]
    assert len(told) == STORIES_SHOWN_MAX
    assert re.search(r"^and \d+ more, which --json has all$", result.stdout, re.MULTILINE)
    assert 's is asked to "do" for step "a": call 1: ' in result.stdout
    assert re.search(
        r'^ +0\.\d s  a: s does "do", which is there 2 times now$', result.stdout, re.MULTILINE
    )
    assert '  broken: "do" of step "a" is there 2 times' in result.stdout


def test_json_has_every_failed_world_with_its_story_and_its_replay(prove):
    result = prove("--json", services=BLIND)
    assert result.exit_code == 1
    body = json.loads(result.stdout)
    assert body["worlds"] == body["held"] + len(body["failed"])
    assert sum(body["ends"].values()) == body["worlds"]
    first = body["failed"][0]
    assert set(first) == {"story", "replay", "end", "broken"}
    assert first["broken"][0]["breach"] == "doubled"
    assert first["broken"][0]["stepID"] == "a"
    assert first["broken"][0]["detail"] in first["story"]


def test_json_of_a_saga_that_holds_has_no_failed_world(prove):
    result = prove("--json")
    assert result.exit_code == 0
    body = json.loads(result.stdout)
    assert body["failed"] == body["unreached"] == []
    assert body["worlds"] == body["held"]


# Replays


def test_the_command_of_a_story_replays_it(prove):
    first = prove(services=BLIND).stdout.partition("world 2")[0]
    command = shlex.split(re.search(r"^  replay: sagakeep (.+)$", first, re.MULTILINE)[1])
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    story = first.partition("that does not hold\n")[2].partition("  replay:")[0]
    assert result.stdout.startswith(story)
    assert "\nevents of the saga\n     1  saga_created" in result.stdout
    assert "\ntrace: " in result.stdout
    assert "call 1 action world-0/a/action/1 1" in result.stdout


def test_a_world_that_holds_is_replayed_too(prove):
    result = prove("--replay", "a/action/1=lost crash@a/action/2/after")
    assert result.exit_code == 0
    assert "the orchestrator is killed, and starts again 1 s later" in result.stdout
    assert "  all of it holds\n" in result.stdout


def test_a_replay_may_be_json(prove):
    result = prove("--json", "--replay", "a/action/1=twice", services=BLIND)
    assert result.exit_code == 1
    body = json.loads(result.stdout)
    assert body["events"][0]["type"] == "saga_created"
    assert any("life 1" in line for line in body["trace"])
    assert body["replay"] == "a/action/1=twice"


@pytest.mark.parametrize(
    "content", ["a/action/1=twice\n", '{"replay": "a/action/1=twice", "story": "..."}']
)
def test_a_replay_may_be_in_a_file(prove, tmp_path, content):
    (tmp_path / "world").write_text(content)
    result = prove("--replay", "world", services=BLIND)
    assert result.exit_code == 1
    assert "which is there 2 times now" in result.stdout


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("nonsense", "'nonsense' is neither a fault"),
        ("{", "world: Expecting property name"),
        ("{}", 'expected a scenario, or an object with a "replay"'),
        ("", "there is nothing in it"),
        ("b/action/1=lost", "this saga has no step 'b'"),
        ("crash@a/compensation/1/before", "in that world there is no such moment"),
    ],
)
def test_a_replay_that_is_none_ends_with_2(prove, tmp_path, content, why):
    (tmp_path / "world").write_text(content)
    result = prove("--replay", "world")
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr


# Expectations


def test_an_end_that_no_world_reaches_ends_with_1(prove):
    held = json.dumps(SAGA | {"onFailure": "hold"})
    result = prove("--expect", "completed,compensated", saga=held)
    assert result.exit_code == 1
    assert "no world ends compensated, which is expected" in result.stdout


def test_a_saga_that_cannot_complete_is_told_why(prove):
    bad = json.dumps(SAGA | {"steps": [STEP, STEP | {"id": "b", "payload": _sum("a")}]})
    result = prove(saga=bad)
    assert result.exit_code == 1
    assert "no world ends completed, which is expected" in result.stdout
    assert 'step "b" cannot be called: "sum(steps.a.result.prices)": ' in result.stdout
    result = prove(saga=bad, services="[services.s.results]\ndo = {prices = [1, 2]}\n")
    assert result.exit_code == 0


def _sum(step_id):
    return {"amount": {"$from": f"sum(steps.{step_id}.result.prices)"}}


def test_an_end_that_never_should_be_ends_with_1(prove):
    result = prove("--never", "compensation_failed, failed")
    assert result.exit_code == 1
    assert "and never should" in result.stdout


@pytest.mark.parametrize("option", ["--expect", "--never"])
def test_what_is_no_end_ends_with_2(prove, option):
    result = prove(option, "completed,running")
    assert result.exit_code == 2
    assert "'running': a saga ends as one of completed, compensated" in result.stderr


def test_all_plays_every_world(prove):
    one = json.dumps({"name": "n", "steps": [STEP | {"maxRetries": 0, "compensation": ""}]})
    assert "left out" in prove(saga=one).stdout
    assert "left out" not in prove("--all", saga=one).stdout


def test_a_saga_from_the_standard_input_is_replayed_from_there():
    held = json.dumps(SAGA | {"steps": [STEP | {"compensation": ""}]})
    result = CliRunner().invoke(main, ["prove", "-"], input=held)
    assert result.exit_code == 1
    assert "\n<stdin>: " in result.stdout
    assert (
        "  replay: sagakeep prove - --replay 'a/action/1=lost a/action/2=refused'" in result.stdout
    )


# Broken files


def test_a_broken_saga_is_told_as_by_check(prove):
    result = prove(saga='{"name": "n",\n "steps": [}')
    assert (result.exit_code, result.stdout) == (2, "")
    assert "  saga.json:2:12: Expecting value" in result.stderr


def test_a_broken_file_of_services_is_told_with_its_name(prove):
    result = prove(services="[services.t]\nidempotnt = 1\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "Error: services.toml cannot be used: 2 faults",
        '  services.toml: /services/t/idempotnt is an unknown field; did you mean "idempotent"?',
        "  services.toml: /services/t is no service of this saga; known: s",
    ]


def test_a_broken_file_is_told_to_programs_as_well(prove):
    result = prove("--json", services="expect = 1\n")
    assert result.exit_code == 2
    (error,) = json.loads(result.stdout)["errors"]
    assert error["pointer"] == "/expect"


def test_worlds_are_counted_on_a_terminal_only(capsys, monkeypatch):
    _Counter().add(5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    counter = _Counter()
    counter.add(1_000)
    counter.add(234)
    counter.clear()
    assert capsys.readouterr().err == "\r\x1b[K1,000 worlds\r\x1b[K1,234 worlds\r\x1b[K"


# The page


def test_the_page_tells_every_breach():
    from sagakeep.proof.verdict import Breach

    page = (ROOT / "docs" / "prove.md").read_text()
    told = re.findall(
        r"^\| `([a-z-]+)` \|",
        section(page, "When a world holds").partition("| breach |")[2],
        re.MULTILINE,
    )
    assert sorted(told) == sorted(Breach)


def test_the_page_tells_every_field_of_the_services_file():
    import msgspec

    from sagakeep.proof.promises import Promises, ServicePromise

    page = (ROOT / "docs" / "prove.md").read_text()
    for kind in (Promises, ServicePromise):
        for field in msgspec.structs.fields(kind):
            assert f"`{field.encode_name}`" in page, field.encode_name


def test_the_page_tells_every_fault():
    from sagakeep.proof.scenario import FAULTS

    page = (ROOT / "docs" / "prove.md").read_text()
    assert [one for one in FAULTS if f"`{one}`" not in page] == []


def test_the_example_of_the_page_is_what_is_printed(prove, tmp_path):
    """The page shows a saga that is kept among the bad ones."""
    page = (ROOT / "docs" / "prove.md").read_text()
    bad = ROOT / "tests" / "bad_sagas"
    (tmp_path / "order.json").write_text((bad / "double_charge.json").read_text())
    (tmp_path / "services.toml").write_text((bad / "double_charge.services.toml").read_text())
    options = ["prove", "order.json", "--services", "services.toml"]
    printed = CliRunner().invoke(main, options).stdout
    for beginning, end in (("what goes wrong", "plays them"), ("world 2 that", "=lost'")):
        shown = re.search(rf"^    {beginning}.*?{end}$", page, re.MULTILINE | re.DOTALL)[0]
        text = "\n".join(line.removeprefix("    ") for line in shown.splitlines())
        assert text in printed
