"""Sagas that are bad on purpose, each with what must be found in it; and good ones, which hold whole."""

from __future__ import annotations

import random
import tomllib
from functools import cache

import pytest
from pages import ROOT

from sagakeep.definition_file import DefinitionFile
from sagakeep.errors import InvalidDefinition
from sagakeep.findings.review import findings_in
from sagakeep.proof.promises import Promises, read_promises
from sagakeep.proof.proof import Prover, shortest_first
from sagakeep.proof.scenario import parse_scenario
from sagakeep.validation import parse_definition

BAD, GOOD = ROOT / "tests" / "bad_sagas", ROOT / "tests" / "good_sagas"
CALLS_MAX = 1_000  # enough to find what is wrong; the command plays more
INDEX = tomllib.loads((BAD / "index.toml").read_text())


def read(path):
    definition = DefinitionFile(path.name, path.read_bytes()).definition
    services = path.with_suffix(".services.toml")
    if not services.exists():
        return definition, Promises()
    known = frozenset(step.service for step in definition.steps)
    return definition, read_promises(services.name, services.read_bytes(), known)


@cache
def proved(path):
    return Prover(*read(path), calls_max=CALLS_MAX).prove()


def names(folder):
    return sorted(path.stem for path in folder.glob("*.json"))


def test_every_bad_saga_is_in_the_index():
    assert names(BAD) == sorted(INDEX)


def test_there_are_ten_in_which_a_world_fails_and_ten_in_which_the_check_finds_something():
    assert sum("prove" in one or "unreached" in one for one in INDEX.values()) >= 10
    assert sum("check" in one for one in INDEX.values()) >= 10


@pytest.mark.parametrize("name", INDEX)
def test_check_finds_what_is_wrong_and_nothing_else(name):
    definition, _ = read(BAD / f"{name}.json")
    found = {str(finding.code) for finding in findings_in(definition)}
    assert found == set(INDEX[name].get("check", ()))


@pytest.mark.parametrize("name", INDEX)
def test_prove_finds_what_is_wrong_and_nothing_else(name):
    proof = proved(BAD / f"{name}.json")
    found = {str(one.breach) for failure in proof.failures for one in failure.broken}
    assert found == set(INDEX[name].get("prove", ()))
    assert [str(end) for end in proof.unreached] == INDEX[name].get("unreached", [])
    assert proof.held == proof.worlds - len(proof.failures)


@pytest.mark.parametrize("name", [name for name, one in INDEX.items() if "prove" in one])
def test_a_world_that_fails_fails_again_when_it_is_played_alone(name):
    path = BAD / f"{name}.json"
    prover = Prover(*read(path))
    for failure in shortest_first(proved(path).failures)[:2]:
        text = str(failure.played.scenario)
        played, broken = prover.replay(parse_scenario(text, read(path)[0]))
        assert broken == failure.broken, text
        assert in_order(played) == in_order(failure.played)


def in_order(played):
    """What happened; at the same instant the order of steps side by side is nobody's business."""
    return sorted([(round(one.at_s, 6), repr(one)) for one in played.account.moments])


@pytest.mark.parametrize("name", names(GOOD))
def test_a_good_saga_holds_whole_and_has_no_findings(name):
    definition, _ = read(GOOD / f"{name}.json")
    assert findings_in(definition) == []
    proof = proved(GOOD / f"{name}.json")
    assert proof.failures == []
    assert proof.unreached == ()
    assert proof.worlds > 100


def test_the_order_of_the_specification_holds_whole_with_services_that_keep_to_the_rules():
    definition, _ = read(BAD / "undo_needs_result.json")
    proof = Prover(definition, Promises(), calls_max=CALLS_MAX).prove()
    assert proof.failures == []
    assert {"completed", "compensated", "failed", "compensation_failed"} == set(proof.ends)


def test_the_guides_example_is_one_of_the_good_ones():
    guide = (ROOT / "docs" / "guide.md").read_text()
    text = (GOOD / "order_with_pivot.json").read_text()
    example = guide.partition("```json\n")[2].partition("```")[0]
    guided = DefinitionFile("guide", example.encode()).definition
    assert guided == DefinitionFile("good", text.encode()).definition


@pytest.mark.parametrize("seed", range(40))
def test_a_saga_without_errors_holds_whole_where_services_keep_to_the_rules(seed):
    """What `check` does not object to, `prove` finds nothing wrong with; two ways to the same answer."""
    definition = _any_definition(random.Random(seed))
    if definition is None or _has_error(definition):
        return
    proof = Prover(definition, Promises(expect=()), calls_max=200).prove()
    assert [str(one.played.scenario) for one in proof.failures] == []


def test_the_random_sagas_are_often_without_errors():
    definitions = [_any_definition(random.Random(seed)) for seed in range(40)]
    without = [one for one in definitions if one and not _has_error(one)]
    assert len(without) >= 8


def _has_error(definition):
    return any(one.severity == "error" for one in findings_in(definition))


def _any_definition(chance):
    """A definition of a few steps, None when it is no valid one."""
    steps = [_any_step(chance, at) for at in range(chance.randint(1, 4))]
    document = {
        "name": "n",
        "steps": steps,
        "timeout": chance.choice([60, 300]),
        "onFailure": chance.choice(["compensate", "compensate", "hold"]),
    }
    try:
        return parse_definition(document, None)
    except InvalidDefinition:
        return None


def _any_step(chance, at):
    kind = chance.choice(["compensatable"] * 6 + ["pivot", "retriable", "readOnly"])
    return {
        "id": f"s{at}",
        "service": chance.choice("xyz"),
        "action": "do",
        "compensation": "undo" if kind == "compensatable" else "",
        "kind": kind,
        "inDoubt": chance.choice(["undo", "probe", "hold"]),
        "probe": "ask",
        "maxRetries": chance.choice([0, 1, 2]),
        "compensationMaxRetries": chance.choice([0, 1, 3]),
        "timeout": chance.choice([1, 30]),
        "dependsOn": [f"s{one}" for one in range(at) if chance.random() < 0.5],
    }
