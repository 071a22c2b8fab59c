"""Redaction by JSON Pointer, without touching the original."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagakeep.pointer import child, tokens_of
from sagakeep.redaction import REDACTED, redact, scrub, secrets_of

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


@pytest.mark.parametrize(
    ("pointers", "secrets"),
    [
        (("/card/number",), {"4111"}),
        (("/card",), {"4111"}),  # "A" is too short to be looked for
        (("/items",), set()),
        (("/nowhere", "/card/number/0", "/items/9", "no pointer"), set()),
        (("",), {"4111"}),
    ],
)
def test_the_secrets_of_a_document_are_all_below_the_pointers(
    pointers: tuple[str, ...], secrets: set[str]
) -> None:
    assert set(secrets_of((CARD,), pointers)) == secrets


@pytest.mark.parametrize(
    "secret", ["4111-1111", 'qu"ote', "back\\slash", "line\nbreak", "é", "пароль", 73198426, 1.25]
)
def test_a_text_has_no_secret_in_any_spelling(secret: object) -> None:
    document = {"card": {"number": secret}}
    secrets = secrets_of((document,), ("/card/number",))
    for text in (
        str(secret),
        json.dumps(document),
        json.dumps(document, ensure_ascii=False),
        repr(document),
        f"{secret}{secret}",
    ):
        shown = scrub(text, secrets)
        if len(str(secret)) > 2:
            assert REDACTED in shown
            assert not any(one in shown for one in (str(secret), json.dumps(secret)[1:-1]))


def test_a_longer_secret_is_replaced_before_one_that_is_part_of_it() -> None:
    secrets = secrets_of(({"a": "abc", "b": "abcdef"},), ("/a", "/b"))
    assert scrub("abcdef abc", secrets) == f"{REDACTED} {REDACTED}"
