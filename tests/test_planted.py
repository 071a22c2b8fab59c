"""The table of planted bugs is up to date, and the drill notices what it should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from planted.bugs import BUGS
from planted.drill import Bug, CannotPlant, drill, replaced

QUICK = ("acknowledged-before-fsync", "wrong-crc-taken-for-torn")


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_each_bug_can_still_be_planted(bug):
    assert replaced(bug)


def test_each_bug_has_a_name_of_its_own_and_there_are_enough():
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 25


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("no such text", "x", "0 times"),
        ("return", "raise", "times in"),
        ("def follow(", "def follow", "no Python"),
        ("The course of a saga", "The course of a saga", "changes nothing"),
    ],
)
def test_a_bug_that_cannot_be_planted_is_told_loudly(old, new, words):
    with pytest.raises(CannotPlant, match=words):
        replaced(Bug("x", "sagakeep/course.py", old, new))


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(name):
    (bug,) = [bug for bug in BUGS if bug.name == name]
    caught = drill(bug, 60)
    assert caught.by
    assert caught.at


def test_a_product_without_a_bug_is_not_accused():
    harmless = Bug(
        "harmless",
        "sagakeep/course.py",
        "CREATED, saga_status.RETRYING)",
        "RETRYING, saga_status.CREATED)",
    )
    caught = drill(harmless, 5)
    assert (caught.by, caught.worlds) == ("", 5)


def test_the_command_prints_the_table():
    command = [
        sys.executable,
        "-m",
        "planted",
        "--json",
        "--seeds",
        "60",
        "--bug",
        "undo-overtakes-action",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parent, check=True
    )
    told = json.loads(done.stdout)
    assert told["caught"] == told["bugs"] == 1
    assert told["table"][0]["bug"] == "undo-overtakes-action"
    assert told["table"][0]["by"].startswith("I")
