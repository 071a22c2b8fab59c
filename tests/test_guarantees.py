"""GUARANTEES.md names what is there: tests that run, invariants, planted bugs; and no id twice."""

from __future__ import annotations

import ast
import functools
import re

import pytest
from pages import ROOT
from planted.bugs import BUGS

PAGE = (ROOT / "docs" / "GUARANTEES.md").read_text()
PROMISES = re.findall(r"^### (C\d+) ([^\n]+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)))
INVARIANTS = (ROOT / "tests/simulation/invariants.py").read_text()
SKIPS = {"skip", "skipif", "xfail", "importorskip"}


@functools.cache
def functions_of(path):
    """The functions of a file, by name, and whether something skips them."""
    tree = ast.parse((ROOT / path).read_text())
    whole = {ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign | ast.Expr)}
    skips_all = any(re.search(r"pytestmark.*\.(skip|xfail)|importorskip", text) for text in whole)
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.name not in found, f"{path} has {node.name} twice: one of them never runs"
            found[node.name] = skips_all or is_skipped(node)
    return found


def is_skipped(node):
    names = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    return bool(names & SKIPS)


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_is_named_exists_and_is_not_skipped(path, name):
    functions = functions_of(path)
    assert name in functions
    assert not functions[name]


def test_every_promise_has_an_id_of_its_own_a_mechanism_and_a_proof():
    ids = [one for one, _, _ in PROMISES]
    assert len(ids) == len(set(ids)) >= 25
    for one, title, text in PROMISES:
        assert "- Mechanism: " in text, f"{one} {title}"
        proof = re.search(r"- Proof: (.*?)(?=\n- |\n\n|\Z)", text, re.DOTALL)
        assert proof, f"{one} {title}"
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", proof[1]), f"{one} {title}"


def test_every_heading_is_a_promise_and_every_id_that_is_named_elsewhere_is_one():
    assert len(PROMISES) == len(re.findall("^### ", PAGE, re.MULTILINE))


def test_everything_that_looks_like_a_test_is_named_in_full():
    loose = set(re.findall(r"\btest_\w+", PAGE)) - {name for _, name in NAMED}
    assert not {one for one in loose if f"tests/{one}.py" not in PAGE}


def test_the_invariants_that_are_named_are_checked():
    lines = re.findall(r"- Invariants: ([^.\n]+)", PAGE)
    named = {one for line in lines for one in re.findall(r"I\d+", line)}
    assert named
    known = set(re.findall(r"^    (I\d+) ", INVARIANTS, re.MULTILINE))
    assert named <= known


def test_the_planted_bugs_that_are_named_are_in_the_table():
    named = set()
    for text in re.findall(r"Planted: (.*?)(?=\n\n|\n- |\Z)", PAGE, re.DOTALL):
        named |= set(re.findall(r"`([\w-]+)`", text))
    assert len(named) >= 25
    assert named <= {bug.name for bug in BUGS}


def test_what_is_not_promised_is_listed():
    (rest,) = re.findall(r"^## Not promised\n(.*)\Z", PAGE, re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^- \*\*", rest, re.MULTILINE)) >= 8


def test_a_skipped_test_would_be_noticed():
    tree = ast.parse(
        "@pytest.mark.skip\ndef test_x():\n    pass\n\ndef test_y():\n    pytest.skip('z')"
    )
    assert [is_skipped(node) for node in tree.body] == [True, True]
