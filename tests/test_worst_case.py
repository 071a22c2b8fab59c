"""The worst case: longest ways, sums of timeouts and waits, and how they are put into words."""

from __future__ import annotations

import pytest

from sagakeep.findings.worst_case import critical_path, in_words, worst_case_of
from sagakeep.validation import parse_definition


def step(step_id, **more):
    return {"id": step_id, "service": "s", "action": "do", "compensation": "undo", **more}


def definition(*steps, **more):
    return parse_definition({"name": "n", "steps": list(steps), **more}, None)


def test_steps_one_after_the_other_add_up():
    worst = worst_case_of(definition(step("a", timeout=10), step("b", timeout=20, maxRetries=1)))
    assert worst.forward_s == (4 * 10 + 1 + 2 + 4) + (2 * 20 + 1)
    assert worst.actions == 4 + 2
    assert worst.undos == 11 + 11
    assert worst.probes == 0
    assert worst.endless == ()


def test_steps_side_by_side_do_not():
    both = step("a", dependsOn=[], timeout=5, maxRetries=0), step("b", dependsOn=[], maxRetries=0)
    path = critical_path(definition(*both), lambda one: one.timeout_s)
    assert path.seconds == 30
    assert path.steps == ("b",)


def test_the_way_back_has_its_own_attempts_and_the_probes():
    slow = step("a", timeout=1, compensationMaxRetries=1, maxRetries=2)
    probed = slow | {"inDoubt": "probe", "probe": "ask"}
    assert worst_case_of(definition(slow)).backward_s == 2 + 1
    worst = worst_case_of(definition(probed))
    assert worst.backward_s == (3 + 1 + 2) + (2 + 1)
    assert worst.probes == 3


def test_the_cap_of_the_backoff_counts():
    capped = step("a", timeout=1, maxRetries=3, retry={"initialInterval": 4, "maxInterval": 5})
    assert worst_case_of(definition(capped)).forward_s == 4 + 4 + 5 + 5


def test_the_time_of_all_attempts_is_bounded_where_it_says_so():
    bounded = step("a", timeout=10, maxRetries=100, retry={"maxElapsed": 60})
    assert worst_case_of(definition(bounded)).forward_s == 60 + 10


def test_what_comes_after_the_pivot_is_without_end_and_not_counted():
    pivot = step("p", kind="pivot", timeout=1, maxRetries=0, compensation="")
    after = step("after", kind="retriable", compensation="")
    worst = worst_case_of(definition(step("a", timeout=1, maxRetries=0), pivot, after))
    assert worst.forward_s == 2
    assert worst.actions == 2
    assert worst.endless == ("after",)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 s"),
        (1 / 3, "0.333 s"),
        (59.96, "60 s"),
        (60, "1 min"),
        (254, "4 min 14 s"),
        (254.2, "4 min 15 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (30 * 86_400, "30 d"),
    ],
)
def test_durations_in_words(seconds, words):
    assert in_words(seconds) == words
