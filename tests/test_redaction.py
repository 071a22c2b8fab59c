"""Redaction by JSON Pointer, without touching the original."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagakeep.pointer import child, tokens_of
from sagakeep.redaction import REDACTED, redact

CARD = {"card": {"number": "4111", "name": "A"}, "items": [{"pin": 1}, {"pin": 2}], "a/b": {"~": 1}}


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("/card/number", {**CARD, "card": {"number": REDACTED, "name": "A"}}),
        ("/items/1/pin", {**CARD, "items": [{"pin": 1}, {"pin": REDACTED}]}),
        ("/items/0", {**CARD, "items": [REDACTED, {"pin": 2}]}),
        ("/a~1b/~0", {**CARD, "a/b": {"~": REDACTED}}),
        ("", REDACTED),
    ],
)
def test_the_value_at_the_pointer_is_replaced(pointer: str, expected: object) -> None:
    assert redact(CARD, (pointer,)) == expected


@pytest.mark.parametrize(
    "pointer",
    ["/no", "/card/no/deeper", "/items/2", "/items/-", "/items/01", "/items/x", "/items/-1",
     "/items/²", "/items/", "/items/" + "9" * 5000, "/card/number/0", "no slash", "/~2"],
)  # fmt: skip
def test_what_is_not_there_is_no_matter(pointer: str) -> None:
    assert redact(CARD, (pointer,)) == CARD


def test_the_original_stays_and_what_is_beside_the_way_is_shared() -> None:
    before = copy.deepcopy(CARD)
    shown = redact(CARD, ("/card/number", "/items/0/pin"))
    assert before == CARD
    assert isinstance(shown, dict)
    assert shown["a/b"] is CARD["a/b"]


def test_a_pointer_below_a_redacted_value_finds_nothing() -> None:
    assert redact({"a": {"b": 1}}, ("/a", "/a/b")) == {"a": REDACTED}


@given(st.text())
def test_a_pointer_made_of_any_key_leads_to_it(key: str) -> None:
    assert tokens_of(child("", key)) == (key,)
    assert redact({key: 1}, (child("", key),)) == {key: REDACTED}


def test_a_very_long_key_is_cut_in_a_pointer() -> None:
    assert len(child("", "k" * 10_000)) == 258
