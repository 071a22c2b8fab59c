"""`sagakeep check FILE`: what is printed for people and for programs, and how it ends."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from sagakeep import limits
from sagakeep.cli import main

GOOD = {"id": "a", "service": "s", "action": "do", "compensation": "undo"}
BARE = {"id": "a", "service": "s", "action": "do"}


def saga(*steps, **more):
    return {"name": "n", "steps": list(steps), **more}


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Write a file (text, bytes or a document) and check it."""
    monkeypatch.chdir(tmp_path)

    def run(content, *options):
        if isinstance(content, dict):
            content = json.dumps(content, indent=1)
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "saga.json").write_bytes(data)
        return CliRunner().invoke(main, ["check", "saga.json", *options])

    return run


def test_a_well_made_saga_ends_with_0(check):
    result = check(saga(GOOD))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "saga.json: 1 step, no findings",
        "at worst 2 min 7 s forward, then 10 min 33 s backward",
        "at most 4 calls of actions, 11 calls of compensations",
    ]


def test_findings_end_with_1_and_are_told_with_place_reason_and_fix(check):
    result = check(saga(BARE | {"probe": "ask"}, GOOD | {"id": "b"}))
    assert (result.exit_code, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "saga.json:4:3: error no-compensation /steps/0"
    assert lines[1].startswith('  step "a" has no compensation: when "b" fails ')
    assert lines[2].startswith("  fix: name the compensation")
    assert lines[6].startswith("saga.json:8:13: warning probe-unused /steps/0/probe")
    assert lines[9] == "saga.json: 2 steps, 3 findings"


def test_figures_tell_what_the_deadline_cuts_and_what_has_no_end(check):
    pivot = BARE | {"kind": "pivot", "inDoubt": "probe", "probe": "ask"}
    result = check(saga(pivot, BARE | {"id": "later", "kind": "retriable"}, timeout=60))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "at worst 2 min 7 s to the pivot, of which the timeout allows 1 min, then 2 min 7 s backward",
        "at most 4 calls of actions, 4 calls of probes",
        "without end, until they are done: later",
    ]


def test_json_has_the_findings_and_nothing_else(check):
    result = check(saga(BARE), "--json")
    assert result.exit_code == 1
    body = json.loads(result.stdout)
    assert list(body) == ["findings"]
    (finding,) = body["findings"]
    assert list(finding) == ["code", "severity", "pointer", "message", "fix"]
    assert finding["code"] == "no-compensation"


def test_json_of_a_well_made_saga_is_an_empty_list(check):
    result = check(saga(GOOD), "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"findings": []})


def test_the_standard_input_is_a_file_too():
    result = CliRunner().invoke(main, ["check", "-"], input=json.dumps(saga(BARE)))
    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:1:25: error no-compensation")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"name": "n",\n "steps": [}', "saga.json:2:12: Expecting value"),
        ("", "saga.json:1:1: Expecting value"),
        ('{"a": 1,\n"a": 2}', 'saga.json:2:6: the key "a" is twice in one object'),
        ('{"timeout": NaN}', "saga.json:1:13: NaN is not JSON: a number is finite"),
        (b"{\n\xff", "saga.json:2:1: is not UTF-8: invalid start byte (0xff)"),
        (b"\xef\xbb\xbf{}", "saga.json: begins with a byte order mark: send UTF-8 without it"),
        ("[]", "saga.json:1:1: is an array; expected an object"),
        (b"[" * 100_000, "saga.json:1:1: is nested deeper than 64 levels"),
    ],
)
def test_a_file_that_is_no_saga_ends_with_2_and_says_where(check, content, line):
    result = check(content)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first == "Error: saga.json cannot be used: 1 fault"
    assert second == f"  {line}"


def test_every_fault_of_a_definition_is_told_with_its_place(check):
    result = check(saga(GOOD | {"timeout": 0, "dependsOn": ["b"]}, nme="x"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "Error: saga.json cannot be used: 3 faults",
        '  saga.json:15:9: /nme is an unknown field; did you mean "name"?',
        "  saga.json:9:15: /steps/0/timeout is 0.0 seconds; allowed is above 0 up to 2592000 (30 days)",
        '  saga.json:11:5: /steps/0/dependsOn/0 is the string "b", which is no step of this saga; known: a',
    ]


def test_a_broken_file_is_told_to_programs_as_well(check):
    result = check(saga(GOOD | {"timeout": 0}), "--json")
    assert result.exit_code == 2
    (error,) = json.loads(result.stdout)["errors"]
    assert (error["pointer"], error["line"], error["column"]) == ("/steps/0/timeout", 9, 15)
    assert error["detail"].startswith("is 0.0 seconds")


def test_a_file_as_large_as_a_saga_may_be_is_read_and_one_byte_more_is_not(check):
    text = json.dumps(saga(GOOD))
    assert check(text.ljust(limits.BODY_BYTES_MAX)).exit_code == 0
    result = check(text.ljust(limits.BODY_BYTES_MAX + 1))
    assert result.exit_code == 2
    assert "a saga has at most 1048576" in result.stderr


def test_control_characters_of_a_file_do_not_reach_the_terminal(check):
    result = check(json.dumps(saga(GOOD | {"x\x1b[31m": 1})))
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr
