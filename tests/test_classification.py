from __future__ import annotations

import pytest

from sagakeep import classification
from sagakeep.classification import broken_rule, http_rule, judgement_of, words_of
from sagakeep.service import Outcome


@pytest.mark.parametrize("has_retry_after", [False, True])
def test_the_words_of_a_status_are_those_of_the_rule_that_judged_it(has_retry_after: bool) -> None:
    for status in range(100, 1000):
        rule = http_rule(status, has_retry_after=has_retry_after)
        assert words_of(rule) == judgement_of(status, has_retry_after).because


def test_a_retry_after_has_words_of_its_own_where_it_matters() -> None:
    matters = {
        status
        for status in range(100, 1000)
        if judgement_of(status, True).rule != judgement_of(status, False).rule
    }
    assert matters == {409, 503}
    for status in matters:
        assert "Retry-After" in words_of(http_rule(status, has_retry_after=True))


def test_only_what_is_known_not_to_be_done_is_refused_for_good() -> None:
    for status in range(100, 1000):
        for has_retry_after in (False, True):
            rule = judgement_of(status, has_retry_after).rule
            assert not rule.permanent or rule.outcome is Outcome.NOT_DONE


def test_a_configured_status_says_that_it_is() -> None:
    rule = http_rule(409, has_retry_after=True, is_configured=True)
    assert rule == "HTTP 409, configured"
    assert "configuration" in words_of(rule)
    assert "409" in words_of(rule)


def test_a_broken_reply_is_unknown_whatever_its_status() -> None:
    assert "whatever its status" in words_of(broken_rule(200))


def test_every_name_has_words_and_no_status_takes_one() -> None:
    names = {
        value
        for name, value in vars(classification).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }
    assert names == set(classification.OTHERS)
    assert not [name for name in names if name.startswith("HTTP")]


def test_a_rule_of_a_newer_version_is_told_by_its_name() -> None:
    assert (words_of(""), words_of("solar flare")) == ("", "solar flare")
