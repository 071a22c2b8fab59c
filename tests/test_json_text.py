"""JSON text: what is read, what is refused, and that one bad entry of a batch stops no other."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagakeep import limits
from sagakeep.errors import InvalidDefinition, MalformedJson
from sagakeep.json_text import parse_batch, parse_json, split_array
from sagakeep.json_value import INTEGER_MAX, INTEGER_MIN, faults_in, measure

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(INTEGER_MIN, INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
KEYS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from([":", '":', '"', "\\"])
JSON_VALUES = st.recursive(
    SCALARS, lambda one: st.lists(one) | st.dictionaries(KEYS, one), max_leaves=20
)


@given(JSON_VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_every_json_value_is_read_as_it_was_written(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()) == value


@given(st.binary())
def test_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    try:
        parse_json(body)
    except (MalformedJson, InvalidDefinition):
        return
    json.loads(body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "line 1 column 1"),
        (b"{", "line 1 column 2"),
        (b'{"a": 1,\n "b": }', "line 2 column 7"),
        (b"[1,]", "line 1 column 4"),
        (b"1 2", "Extra data: line 1 column 3"),
        (b"01", "line 1"),
        (b"NaN", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'"\xff"', "not UTF-8: invalid start byte (0xff): line 1 column 2"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'"\x01"', "control character"),
        (b"'a'", "line 1 column 1"),
        (b'{"a": 1, "b": 2, "a": 3}', 'the key "a" is twice'),
        (b'{"a": 1, "\\u0061": 3}', 'the key "a" is twice'),
        (b'{"x": [{"k": 1, "k": 1}]}', 'the key "k" is twice'),
        (b'{"t": "12:30", "k": 1, "k": 1}', 'the key "k" is twice'),
    ],
)
def test_malformed_text_is_refused_with_its_place(body: bytes, text: str) -> None:
    with pytest.raises(MalformedJson) as caught:
        parse_json(body)
    assert text in str(caught.value)


@pytest.mark.parametrize("body", [b'{"a": ":"}', b'{"a": "x\\":y"}', b'{":": "\\":"}'])
def test_a_colon_in_a_string_is_no_duplicate_key(body: bytes) -> None:
    assert parse_json(body) == json.loads(body)


@pytest.mark.parametrize("number", [INTEGER_MIN, INTEGER_MAX, 10**18])
def test_integers_of_64_bits_are_read(number: int) -> None:
    assert parse_json(f"[{number}]".encode()) == [number]


@pytest.mark.parametrize(
    "digits", [str(INTEGER_MIN - 1), str(INTEGER_MAX + 1), "-1" + "0" * 20, "1" * 5000]
)
def test_integers_beyond_64_bits_are_refused(digits: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        parse_json(f'{{"a": [0, {digits}], "b": 1}}'.encode())
    assert [fault.pointer for fault in caught.value.faults] == ["/a/1"]
    assert "64 bits" in caught.value.faults[0].detail


def test_digits_in_a_string_are_no_integer() -> None:
    assert parse_json(b'["99999999999999999999999"]') == ["9" * 23]


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400 + ".0"])
def test_numbers_beyond_a_float_are_refused(number: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        parse_json(f'{{"a": {number}}}'.encode())
    assert caught.value.faults[0].pointer == "/a"


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\ud800x", "\\udc00\\ud800"])
def test_lone_surrogates_are_refused_in_values_and_keys(escape: str) -> None:
    for body, pointer in ((f'{{"a": "{escape}"}}', "/a"), (f'{{"a": {{"{escape}": 1}}}}', "/a")):
        with pytest.raises(InvalidDefinition) as caught:
            parse_json(body.encode())
        assert caught.value.faults[0].pointer == pointer
        caught.value.faults[0].detail.encode()
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_nesting_is_read_to_the_limit_and_refused_beyond() -> None:
    deepest = limits.JSON_DEPTH_MAX
    for left, right in ((b"[", b"]"), (b'{"a":', b"}")):
        value = parse_json(left * deepest + b"1" + right * deepest)
        assert measure(value)[1] == deepest
        with pytest.raises(InvalidDefinition, match="deeper than 64"):
            parse_json(left * (deepest + 1) + b"1" + right * (deepest + 1))


def test_a_megabyte_of_brackets_is_refused() -> None:
    for body in (b"[" * (1 << 20), b'{"a":' * 200_000):
        with pytest.raises(InvalidDefinition, match="deeper than 64"):
            parse_json(body)


def test_what_is_no_json_value_is_found_in_document_order() -> None:
    faults = faults_in({"a": {1, 2}, "b": [float("nan"), ("x",)], "c": {1: "x"}, "d": b""})
    with pytest.raises(InvalidDefinition) as caught:
        faults.raise_all()
    assert [fault.pointer for fault in caught.value.faults] == ["/a", "/b/0", "/c", "/d"]


def test_ndjson_is_read_line_by_line() -> None:
    body = b'{"a": 1}\r\n\n  \n{"b": \n[1, 1e999]\n"last"'
    entries = parse_batch(body, ndjson=True)
    assert [type(one) for one in entries] == [dict, MalformedJson, InvalidDefinition, str]
    assert (entries[0], entries[3]) == ({"a": 1}, "last")


def test_an_array_is_read_element_by_element() -> None:
    body = '\n[ {"a": "é]"} , {"k": 1, "k": 1}, [1e999] ,NaN, 3]\n'.encode()
    entries = parse_batch(body, ndjson=False)
    assert [type(one) for one in entries] == [
        dict,
        MalformedJson,
        InvalidDefinition,
        MalformedJson,
        int,
    ]
    assert entries[0] == {"a": "é]"}


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"[\n]"])
def test_an_empty_array_is_an_empty_batch(body: bytes) -> None:
    assert parse_batch(body, ndjson=False) == []


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "column 1"),
        (b"{", "column 2"),
        (b"x", "column 1"),
        (b"[", "column 2"),
        (b"[1", "column 3"),
        (b"[1,", "column 4"),
        (b"[1,]", "column 4"),
        (b"[,1]", "column 2"),
        (b"[1 2]", "column 4"),
        (b"[1] x", "column 5"),
        (b"[] ]", "column 4"),
        (b'[{"a": }]', "column 8"),
        (b'["\xff"]', "column 3"),
        (b"\xef\xbb\xbf[]", "byte order mark"),
    ],
)
def test_a_malformed_array_is_refused_as_a_whole(body: bytes, place: str) -> None:
    with pytest.raises(MalformedJson, match=place):
        parse_batch(body, ndjson=False)


@pytest.mark.parametrize(
    "body", [b"{}", b"null", b' "x" ', b"1", b'{"name": "order", "steps": []}']
)
def test_json_that_is_no_array_is_no_batch_but_json(body: bytes) -> None:
    with pytest.raises(InvalidDefinition, match="expected an array of sagas"):
        parse_batch(body, ndjson=False)


@pytest.mark.parametrize("ndjson", [False, True])
def test_an_entry_of_a_batch_is_no_larger_than_a_saga_alone(ndjson: bool) -> None:
    longest = b'"' + b"x" * (limits.BODY_BYTES_MAX - 2) + b'"'
    longer = longest.replace(b"x", b"xx", 1)
    body = b"\n".join([longest, longer, b"1"])
    body = body if ndjson else b"[" + body.replace(b"\n", b",") + b"]"
    good, bad, after = parse_batch(body, ndjson)
    assert (good, after) == ("x" * (limits.BODY_BYTES_MAX - 2), 1)
    assert isinstance(bad, InvalidDefinition)
    assert str(bad).endswith("has 1048577 bytes; a saga has at most 1048576")


def test_an_array_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="deeper than 64"):
        parse_batch(b"[" * 100_000, ndjson=False)


@pytest.mark.parametrize("ndjson", [False, True])
def test_a_batch_is_read_to_its_limit_and_refused_beyond(ndjson: bool) -> None:
    def body(count: int) -> bytes:
        entries = [b"{}"] * count
        return b"\n".join(entries) if ndjson else b"[" + b",".join(entries) + b"]"

    assert len(parse_batch(body(limits.BATCH_SAGAS_MAX), ndjson)) == limits.BATCH_SAGAS_MAX
    with pytest.raises(InvalidDefinition, match="more than 10000 sagas"):
        parse_batch(body(limits.BATCH_SAGAS_MAX + 1), ndjson)


def test_millions_of_elements_are_refused_without_reading_them() -> None:
    begun = time.perf_counter()
    with pytest.raises(InvalidDefinition, match="more than 10000"):
        split_array(b"[" + b"1," * (4 << 20) + b"1]")
    assert time.perf_counter() - begun < 2.0


@settings(max_examples=50)
@given(st.lists(JSON_VALUES, max_size=3))
def test_a_batch_is_the_list_of_its_documents(documents: list[object]) -> None:
    lines = "\n".join(json.dumps(one) for one in documents).encode()
    assert parse_batch(lines, ndjson=True) == documents
    assert parse_batch(json.dumps(documents, indent=1).encode(), ndjson=False) == documents
