"""Places: a pointer into a JSON text becomes a line and a column."""

from __future__ import annotations

import json
import random

import pytest

from sagakeep.json_place import Places

TEXT = """{
  "name": "n", "list": [1, -2.5e3,
    {"a/b": null, "~": [[], {}, "]}"]}],
  "é\\n": true
}
"""


@pytest.mark.parametrize(
    ("pointer", "place"),
    [
        ("", (1, 1)),
        ("/name", (2, 11)),
        ("/list", (2, 24)),
        ("/list/0", (2, 25)),
        ("/list/1", (2, 28)),
        ("/list/2/a~1b", (3, 13)),
        ("/list/2/~0/1", (3, 29)),
        ("/list/2/~0/2", (3, 33)),
        ("/é\n", (4, 10)),
    ],
)
def test_a_value_is_where_it_begins(pointer, place):
    assert Places(TEXT).of(pointer) == place


@pytest.mark.parametrize("pointer", ["/list/2/nothing", "/list/2/a~1b/deeper", "/list/2/x/y/z"])
def test_what_is_not_there_is_where_it_should_be(pointer):
    assert Places(TEXT).of(pointer).line == 3


def test_a_key_that_is_there_twice_is_odd():
    assert Places('{"a": {"b": 1},\n "a": 2}').odd() == (2, 7)
    assert Places('{"a": {"a": 1}, "b": {"a": 2}}').odd() is None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_odd(number):
    assert Places(f"[1,\n {number}]").odd() == (2, 2)


@pytest.mark.parametrize("cut", range(len(TEXT)))
def test_a_text_that_ends_anywhere_ends_the_walk(cut):
    places = Places(TEXT[:cut])
    assert places.of("/list/2/~0/2").line >= 1
    assert places.odd() is None


@pytest.mark.parametrize("text", ["{1: 2}", '{"a" 1}', "[1 2]", '{"a": "\\x"}', "]", "[" * 5000])
def test_what_is_no_json_ends_the_walk(text):
    assert Places(text).of("/a") in [(1, 1), (1, 7)]


def test_every_value_of_a_random_document_is_found():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    def value(depth):
        kind = chance.randrange(5 if depth < 4 else 3)
        if kind == 4:
            return {str(chance.random())[2:6]: value(depth + 1) for _ in range(3)}
        if kind == 3:
            return [value(depth + 1) for _ in range(3)]
        return (chance.random(), 'a "text", [with] {marks}\\', None)[kind]

    document = value(0)
    text = json.dumps(document, indent=1)
    places = Places(text)
    lines = text.splitlines(keepends=True)

    def check(pointer, one):
        line, column = places.of(pointer)
        start = sum(map(len, lines[: line - 1])) + column - 1
        assert json.JSONDecoder().raw_decode(text, start)[0] == one
        members = (
            one.items()
            if isinstance(one, dict)
            else enumerate(one if isinstance(one, list) else ())
        )
        for key, member in members:
            check(f"{pointer}/{key}", member)

    check("", document)
