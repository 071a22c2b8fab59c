"""Findings: each code where it belongs, and not where it nearly does."""

from __future__ import annotations

import json
import random
import re

import pytest
from pages import ROOT, blocks

from sagakeep.errors import InvalidDefinition
from sagakeep.findings.finding import Code, Severity, severity_of
from sagakeep.findings.review import findings_in
from sagakeep.findings.worst_case import worst_case_of
from sagakeep.validation import parse_definition

PAGE = (ROOT / "docs" / "findings.md").read_text()


def step(step_id, **more):
    return {"id": step_id, "service": "s", "action": "do", "compensation": "undo", **more}


def bare(step_id, **more):
    return {"id": step_id, "service": "s", "action": "do", **more}


def found(*steps, **more):
    definition = parse_definition({"name": "n", "steps": list(steps), **more}, None)
    return findings_in(definition)


def told(*steps, **more):
    return [(str(one.code), one.pointer) for one in found(*steps, **more)]


PIVOT = bare("p", kind="pivot", inDoubt="hold")
AFTER = bare("after", kind="retriable", dependsOn=["p"])
LOOK = bare("look", kind="readOnly")


def from_(expression):
    return {"x": {"$from": expression}}


# What is well made


@pytest.mark.parametrize(
    ("steps", "saga"),
    [
        ([step("a")], {}),
        ([step("a"), step("b")], {}),
        ([LOOK, step("b")], {}),
        ([step("a"), PIVOT, AFTER], {}),
        ([PIVOT], {}),
        ([step("a"), bare("p", kind="pivot", compensation="undo"), AFTER], {}),
        ([step("a"), bare("p", kind="pivot", inDoubt="probe", probe="ask")], {}),
        ([step("a", dependsOn=[]), step("b", dependsOn=[])], {"timeout": 30}),
        ([step("a"), step("b")], {"onFailure": "hold", "timeout": 3600}),
        (
            [step("a", inDoubt="probe", probe="ask", compensationPayload=from_("steps.a.result"))],
            {},
        ),
        ([step("a", inDoubt="hold", compensationPayload=from_("steps.a.result"))], {}),
        ([step("a", compensationPayload=from_("steps.a.outcome"))], {}),
        ([step("a"), step("b", compensationPayload=from_("steps.a.result.id"))], {}),
        ([step("a", payload=from_("saga.tags.vip"))], {"tags": {"vip": "1"}}),
        ([step("a", payload=from_("[saga.id, saga.name]"))], {}),
        ([LOOK, step("b", payload=from_("steps.look.result.price"))], {}),
        ([bare("p", kind="pivot", inDoubt="hold"), LOOK, AFTER | {"dependsOn": ["look"]}], {}),
        ([step("a")], {"maxRetries": 1}),
        ([LOOK, step("b"), step("c", retry={"maxElapsed": 31})], {}),
        ([step("a", maxRetries=0, retry={"maxElapsed": 1})], {}),
    ],
)
def test_a_well_made_saga_has_no_findings(steps, saga):
    assert told(*steps, **saga) == []


# The way back


def test_a_step_with_an_effect_and_no_undo():
    assert told(bare("a")) == [("no-compensation", "/steps/0")]
    assert told(step("a"), bare("b")) == [("no-compensation", "/steps/1")]


def test_the_step_without_an_undo_is_told_what_can_fail_after_it():
    many = found(bare("a"), step("b"), *(step(f"c{at}", dependsOn=["b"]) for at in range(9)))
    assert [one.code for one in many[:2]] == [Code.NO_COMPENSATION, Code.IRREVERSIBLE_NOT_LAST]
    assert 'when "b", "c0", "c1", "c2", "c3" or 5 more fails' in many[0].message


def test_an_irreversible_step_is_followed_by_one_that_can_fail():
    assert told(bare("a"), step("b")) == [
        ("no-compensation", "/steps/0"),
        ("irreversible-not-last", "/steps/0"),
    ]


def test_a_step_beside_the_pivot_can_still_fail():
    beside = step("beside", dependsOn=[])
    assert told(PIVOT, beside) == [("irreversible-not-last", "/steps/0")]
    assert told(PIVOT, beside | {"kind": "readOnly", "compensation": ""})[0] == (
        "irreversible-not-last",
        "/steps/0",
    )
    assert told(beside, PIVOT | {"dependsOn": ["beside"]}) == []


def test_an_undo_that_does_it_again():
    assert told(step("a", compensation="do")) == [("undo-is-action", "/steps/0/compensation")]


def test_an_undo_that_is_tried_once():
    assert told(step("a", compensationMaxRetries=0)) == [
        ("undo-without-retries", "/steps/0/compensationMaxRetries")
    ]


def test_what_is_said_about_an_undo_that_is_never_made():
    assert told(PIVOT, AFTER | {"compensation": "undo"}) == [
        ("undo-unused", "/steps/1/compensation")
    ]
    look = LOOK | {"compensationPayload": {}, "compensationMaxRetries": 2, "dependsOn": []}
    assert told(look, step("b")) == [
        ("undo-unused", "/steps/0/compensationPayload"),
        ("undo-unused", "/steps/0/compensationMaxRetries"),
    ]


def test_a_failed_undo_has_no_way_out():
    assert told(step("a"), maxRetries=0) == [("no-way-out", "/maxRetries")]
    assert told(PIVOT, AFTER, maxRetries=0) == []


# Doubt


@pytest.mark.parametrize(
    "expression",
    ["steps.a.result.id", "steps.a", "steps.a.[result, outcome]", "to_string(steps.a.result)"],
)
def test_an_undo_that_needs_what_is_unknown(expression):
    assert told(step("a", compensationPayload=from_(expression))) == [
        ("undo-needs-result", "/steps/0/compensationPayload/x")
    ]


def test_a_pivot_in_doubt_that_is_taken_for_not_done():
    assert told(step("a"), bare("p", kind="pivot")) == [("pivot-in-doubt", "/steps/1")]
    assert told(bare("p", kind="pivot")) == [("pivot-in-doubt", "/steps/0")]


def test_a_probe_that_does_something():
    probed = {"inDoubt": "probe"}
    assert told(step("a", probe="do", **probed)) == [("probe-is-deed", "/steps/0/probe")]
    assert told(step("a", probe="undo", **probed)) == [("probe-is-deed", "/steps/0/probe")]


def test_a_probe_that_nobody_asks():
    assert told(step("a", probe="ask")) == [("probe-unused", "/steps/0/probe")]
    assert told(step("a", probe="ask", inDoubt="hold")) == [("probe-unused", "/steps/0/probe")]


def test_a_doubt_that_never_is():
    look = LOOK | {"inDoubt": "probe", "probe": "ask"}
    (finding,) = found(look, step("b"))
    assert (finding.code, finding.pointer) == ("in-doubt-unused", "/steps/0/inDoubt")
    assert finding.fix.endswith("and the probe with it")


def test_a_doubt_that_is_held_anyway():
    assert told(step("a", inDoubt="hold"), onFailure="hold") == [
        ("in-doubt-unused", "/steps/0/inDoubt")
    ]


# Time


def test_a_deadline_that_single_attempts_can_miss():
    assert told(step("a"), step("b"), timeout=59) == [("deadline-too-short", "/timeout")]
    assert told(step("a"), step("b"), timeout=60) == []
    (finding,) = found(step("a"), timeout=29.5)
    assert "29.5 s, but one attempt of a may take 30 s" in finding.message


def test_a_deadline_counts_the_longest_way_only_and_ends_at_the_pivot():
    side = step("side", dependsOn=[], timeout=40)
    assert told(side, step("b", dependsOn=[]), step("c"), timeout=60) == []
    assert told(side, step("b", dependsOn=[]), step("c"), timeout=59)
    assert told(PIVOT, AFTER, AFTER | {"id": "more", "dependsOn": ["after"]}, timeout=30) == []


def test_a_saga_that_is_held_because_it_is_slow():
    assert told(step("a"), onFailure="hold", timeout=126) == [("held-by-deadline", "/onFailure")]
    assert told(step("a"), onFailure="hold", timeout=127) == []


def test_a_retriable_step_that_ends():
    early = step("a", kind="retriable")
    assert told(early) == [("retriable-before-pivot", "/steps/0/kind")]
    assert told(early | {"dependsOn": []}, PIVOT | {"dependsOn": []}) == [
        ("retriable-before-pivot", "/steps/0/kind")
    ]


def test_an_end_that_a_retriable_step_has_not():
    steps = PIVOT, AFTER | {"maxRetries": 5, "retry": {"maxElapsed": 600}}
    assert told(*steps) == [
        ("retriable-with-end", "/steps/1/maxRetries"),
        ("retriable-with-end", "/steps/1/retry/maxElapsed"),
    ]


def test_retries_that_are_over_before_the_first_attempt_is():
    assert told(step("a", retry={"maxElapsed": 29})) == [
        ("elapsed-too-short", "/steps/0/retry/maxElapsed")
    ]


def test_a_backoff_that_begins_above_its_cap():
    assert told(step("a", retry={"initialInterval": 2, "maxInterval": 1})) == [
        ("interval-unused", "/steps/0/retry/maxInterval")
    ]


# Data


def test_an_answer_that_nobody_reads_and_nobody_waits_for():
    assert told(step("a"), LOOK) == [("result-unused", "/steps/1")]


@pytest.mark.parametrize("expression", ["saga.deadline", "saga.tags.vip", "[saga.nme, saga.id]"])
def test_a_reference_to_what_is_never_there(expression):
    assert told(step("a", payload=from_(expression))) == [
        ("always-null", "/steps/0/payload/x/$from")
    ]


SECRET = step("a", sensitive=["/card/number"])


@pytest.mark.parametrize("path", ["card.number", "card", "card.number.digits[0]"])
def test_a_secret_that_is_copied_into_the_open(path):
    copy = step("b", payload={"to": from_(f"steps.a.result.{path}")})
    (finding,) = found(SECRET, copy)
    assert (finding.code, finding.pointer) == ("sensitive-copied", "/steps/1/payload/to/x/$from")
    assert '"/to/x"' in finding.fix
    assert told(SECRET, copy | {"sensitive": ["/to"]}) == []


def test_a_secret_that_is_not_copied():
    for expression in ("steps.a.result", "steps.a.result.card_id", "steps.a.outcome"):
        assert told(SECRET, step("b", payload=from_(expression))) == []
    own = step("a", sensitive=["/card"], compensationPayload=from_("steps.a.result.card"))
    assert told(own | {"inDoubt": "hold"}) == []


def test_all_of_a_secret_result_is_copied():
    assert told(step("a", sensitive=[""]), step("b", payload=from_("steps.a.result.id"))) == [
        ("sensitive-copied", "/steps/1/payload/x/$from")
    ]


# The page


def test_the_page_explains_every_code_and_no_other():
    headings = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted(Code)


@pytest.mark.parametrize("code", Code)
def test_the_page_tells_the_severity(code):
    (section,) = re.findall(rf"^### {code}\n\n(.+)", PAGE, re.MULTILINE)
    assert section.startswith(f"{severity_of(code)}. ")


def test_each_finding_has_a_reason_a_fix_and_the_severity_of_its_code():
    (one,) = found(step("a"), maxRetries=0)
    assert one.severity is Severity.ERROR
    assert one.message
    assert one.fix


def test_every_code_is_found_somewhere_here():
    text = (ROOT / "tests" / "test_findings.py").read_text()
    assert [code for code in Code if f'"{code}"' not in text] == []


def test_findings_about_the_saga_come_first_then_those_of_steps_in_their_order():
    pointers = [pointer for _, pointer in told(bare("a"), step("b"), bare("c"), maxRetries=0)]
    assert pointers == ["/maxRetries", "/steps/0", "/steps/0", "/steps/2"]


def test_the_guides_example_has_no_findings():
    guide = (ROOT / "docs" / "guide.md").read_text()
    example = json.loads(blocks(guide, "json")[0].text)
    assert findings_in(parse_definition(example, None)) == []


@pytest.mark.parametrize("seed", range(200))
def test_any_valid_definition_can_be_reviewed(seed):
    chance = random.Random(seed)
    definition = _any_definition(chance)
    if definition is None:
        return
    places = {"", "/timeout", "/maxRetries", "/onFailure"}
    for one in findings_in(definition):
        assert one.pointer in places or re.match(r"/steps/\d+(/|$)", one.pointer)
        assert '"' + "None" not in one.message
    worst = worst_case_of(definition)
    assert worst.forward_s > 0
    assert worst.backward_s >= 0


def _any_definition(chance):
    """A definition of a few steps with anything in them, None when that is no valid one."""
    steps = [_any_step(chance, at) for at in range(chance.randint(1, 5))]
    document = {
        "name": "n",
        "steps": steps,
        "timeout": chance.choice([1, 60, 300, 86_400]),
        "maxRetries": chance.choice([0, 3]),
        "onFailure": chance.choice(["compensate", "hold"]),
        "tags": {"k": "v"},
    }
    try:
        return parse_definition(document, None)
    except InvalidDefinition:
        return None


def _any_step(chance, at):
    path = chance.choice(["saga.id", "saga.x", "saga.tags.k", f"steps.s{at}.result.id", "steps.s0"])
    return {
        "id": f"s{at}",
        "service": "s",
        "action": chance.choice("xyz"),
        "compensation": chance.choice(["", "x", "y"]),
        "kind": chance.choice(["compensatable"] * 3 + ["pivot", "retriable", "readOnly"]),
        "inDoubt": chance.choice(["undo", "probe", "hold"]),
        "probe": chance.choice(["", "x", "p"]),
        "maxRetries": chance.choice([0, 1, 100]),
        "compensationMaxRetries": chance.choice([0, 10]),
        "retry": {
            "maxElapsed": chance.choice([None, 1, 600]),
            "maxInterval": chance.choice([0.5, 9]),
        },
        "sensitive": chance.sample(["", "/id", "/a/b"], chance.randint(0, 2)),
        "dependsOn": [f"s{one}" for one in range(at) if chance.random() < 0.5],
        chance.choice(["payload", "compensationPayload"]): {"x": {"$from": path}},
    }


def test_the_random_definitions_are_often_valid():
    valid = [seed for seed in range(200) if _any_definition(random.Random(seed)) is not None]
    assert len(valid) > 20
