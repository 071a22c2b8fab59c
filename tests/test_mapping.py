"""Mapping: references are compiled, read in advance, and filled in within bounds."""

from __future__ import annotations

import copy
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagakeep import limits
from sagakeep.expression import COPIES_MAX
from sagakeep.mapping import (
    EXPRESSION_CHARS_MAX,
    MappingError,
    compile_reference,
    fill,
    has_references,
    references_in,
)

CONTEXT = {
    "saga": {"id": "order-1", "name": "order", "tags": {"customer": "c-7"}},
    "steps": {
        "reserve": {
            "result": {"id": "r1", "lines": [{"sku": "a"}, {"sku": "b"}]},
            "outcome": "done",
        },
        "a-b": {"result": "quoted", "outcome": "done"},
        "lost": {"result": None, "outcome": "unknown"},
    },
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("steps.reserve.result.id", "r1"),
        ("steps.reserve.result.lines[*].sku", ["a", "b"]),
        ("steps.reserve.result.lines[?sku=='b'] | [0]", {"sku": "b"}),
        ('steps."a-b".result', "quoted"),
        ("steps.lost.result.id", None),
        ("steps.lost.outcome", "unknown"),
        ("saga.tags.customer", "c-7"),
        ("{order: saga.id, first: steps.reserve.result.lines[0].sku}", {"order": "order-1", "first": "a"}),
        ("join('-', steps.reserve.result.lines[*].sku)", "a-b"),
        ("`null`", None),
        ("'text'", "text"),
    ],
)  # fmt: skip
def test_a_reference_takes_the_value_of_its_expression(expression: str, value: object) -> None:
    assert fill({"x": [{"$from": expression}]}, CONTEXT) == {"x": [value]}
    assert fill({"$from": expression}, CONTEXT) == value


def test_filling_changes_neither_payload_nor_context() -> None:
    payload = {"a": {"$from": "saga.id"}, "b": [1, {"$from": "steps.reserve.result"}]}
    before = copy.deepcopy((payload, CONTEXT))
    fill(payload, CONTEXT)
    assert (payload, CONTEXT) == before


def test_a_payload_without_references_is_returned_as_it_is() -> None:
    for payload in ({"a": [1, {"b": None}]}, [1], "text", 1, None):
        assert not has_references(payload)
        assert fill(payload, CONTEXT) is payload


def test_references_are_found_wherever_they_are_and_in_order() -> None:
    payload = {"a": {"$from": "x"}, "b": [0, {"$from": "y", "z": {"$from": "not looked into"}}]}
    assert has_references(payload)
    assert has_references([[payload]])
    assert [pointer for pointer, _ in references_in(payload)] == ["/a", "/b/1"]
    assert [pointer for pointer, _ in references_in({"$from": "x"})] == [""]


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("saga.id", ()),
        ("steps.a.result.steps.b", ("a",)),
        ("steps.a.result || steps.b.outcome", ("a", "b")),
        ("steps.a.result && !(steps.b.result)", ("a", "b")),
        ("[steps.a.result, steps.b.result.c[0:2]]", ("a", "b")),
        ("{x: steps.a.result, y: steps.b.result}", ("a", "b")),
        ("steps | a.result", ("a",)),
        ("(steps).a.result", ("a",)),
        ("@.steps.a.result", ("a",)),
        ("steps.{x: a.result, y: b.result}", ("a", "b")),
        ("steps.[a.result]", ("a",)),
        ("steps.a.result[?x == steps.b.result].y", ("a",)),
        ("steps.a.result[].x[]", ("a",)),
        ("steps.a.result.*.x", ("a",)),
        ("steps.a.*", ("a",)),
        ("sort_by(steps.a.result, &steps.b)", ("a",)),
        ("max([steps.a.result, steps.b.result])", ("a", "b")),
        ("steps.a.result == steps.b.result", ("a", "b")),
        ('steps."a.b".result', ("a.b",)),
        ("`{}`.steps.a", ()),
        ("map(&to_string(@), steps.a.result)", ("a",)),
        ("not_null(steps.a.result, steps.b.result, `0`)", ("a", "b")),
    ],
)
def test_the_steps_an_expression_reads_are_known(expression: str, steps: tuple[str, ...]) -> None:
    reading = compile_reference(expression).reading
    assert reading.steps == steps
    assert reading.complaints == ()


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("order.id", 'reads "order", but there is only "saga" and "steps"'),
        ("steps", "reads all steps at once"),
        ("steps.*", "reads all steps at once"),
        ("keys(steps)", "reads all steps at once"),
        ("steps || saga", "reads all steps at once"),
        ("@", "reads the whole document"),
        ("*", "reads the whole document"),
        ("[@]", "reads the whole document"),
        ("steps.a.payload", 'reads "payload" of a step'),
        ("uuid()", "calls uuid(), which is no function"),
        ("length(saga.id, saga.name)", "calls length() with 2 arguments; it takes 1"),
        ("not_null()", "calls not_null() with 0 arguments; it takes 1"),
    ],
)
def test_what_an_expression_must_not_read_is_told(expression: str, complaint: str) -> None:
    assert any(complaint in one for one in compile_reference(expression).reading.complaints)


@pytest.mark.parametrize(
    "expression",
    ["", " ", "steps.", "steps.a-b.result", "steps[", "a b", "`x`", '"\\x"', "[?", "{a: b c}", "f(",
     "((((", "steps..a", "=", "a[1:2:3:4]", '"f"(@)', "@(a)", "#", "{a}", "`{`"],
)  # fmt: skip
def test_what_is_no_jmespath_is_refused(expression: str) -> None:
    with pytest.raises(MappingError) as caught:
        compile_reference(expression)
    assert f'"{expression}" is no JMESPath: ' in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("expression", ["(" * 1000, "!" * 1000 + "a", "[" * 500 + "a" + "]" * 500])
def test_an_expression_nested_too_deep_is_refused(expression: str) -> None:
    with pytest.raises(MappingError, match="nested too deep"):
        compile_reference(expression)


def test_an_expression_is_compiled_to_its_length_limit_and_refused_beyond() -> None:
    longest = "saga." + "x" * (EXPRESSION_CHARS_MAX - 5)
    assert compile_reference(longest).reading.complaints == ()
    with pytest.raises(MappingError, match="1025 characters; at most 1024"):
        compile_reference(longest + "x")


def test_compiling_twice_gives_the_same_reference() -> None:
    assert compile_reference("saga.id") is compile_reference("saga.id")


@given(st.text(st.sampled_from("steps.a[]{}()|&!@*?:,'\"`0-= <>x")))
def test_any_text_is_compiled_or_refused(expression: str) -> None:
    try:
        compile_reference(expression)
    except MappingError:
        return


@pytest.mark.parametrize(
    "expression",
    ["abs(saga.id)", "steps.reserve.result.lines[::0]", "saga.id < `1`", "sum(saga.id)",
     "sort_by(steps.reserve.result.lines, &@)"],
)  # fmt: skip
def test_an_expression_that_does_not_fit_the_data_is_an_error(expression: str) -> None:
    with pytest.raises(MappingError) as caught:
        fill({"x": {"$from": expression}}, CONTEXT)
    assert str(caught.value).startswith(f'"{expression}": ')


@pytest.mark.parametrize(
    "expression", ["to_number('1e999')", "to_number('99999999999999999999')", "&a", '`"\\ud800"`']
)
def test_a_value_that_is_no_json_is_an_error(expression: str) -> None:
    with pytest.raises(MappingError, match="its value at"):
        fill([{"$from": expression}], CONTEXT)


def text_of(length: int) -> dict[str, object]:
    return {"saga": {"text": "x" * length}, "steps": {}}


def test_a_payload_is_filled_to_its_limit_and_refused_beyond() -> None:
    longest = limits.PAYLOAD_BYTES_MAX - 2  # its quotation marks
    assert fill({"$from": "saga.text"}, text_of(longest)) == "x" * longest
    for length in (longest + 1, longest + 1000):
        with pytest.raises(MappingError, match="more than 1048576 bytes"):
            fill({"$from": "saga.text"}, text_of(length))


def test_the_limit_is_that_of_the_whole_payload() -> None:
    half = {"$from": "saga.text"}
    with pytest.raises(MappingError, match="more than 1048576 bytes"):
        fill({"a": half, "b": half}, text_of(limits.PAYLOAD_BYTES_MAX // 2))
    with pytest.raises(MappingError, match="more than 1048576 bytes"):
        fill({"k" * limits.PAYLOAD_BYTES_MAX: half}, text_of(1))


def test_a_value_may_not_nest_deeper_than_json_in_its_place() -> None:
    deepest: object = 1
    for _ in range(limits.JSON_DEPTH_MAX):
        deepest = [deepest]
    context = {"saga": {"deep": deepest}, "steps": {}}
    assert fill({"$from": "saga.deep"}, context) == deepest
    with pytest.raises(MappingError, match="deeper than 64"):
        fill([{"$from": "saga.deep"}], context)


def test_copies_are_allowed_to_the_limit_and_refused_beyond() -> None:
    ten = "[" + ",".join("@" * 10) + "]"
    assert COPIES_MAX == 100
    assert compile_reference(f"saga.id | {ten} | {ten}").reading.complaints == ()
    (complaint,) = compile_reference(f"saga.id | {ten} | {ten} | [@, @]").reading.complaints
    assert "more than 100 times" in complaint


@pytest.mark.parametrize(
    "expression",
    [
        "saga.id" + " | [@, @]" * 50,
        "saga.id" + " | [@, @][]" * 50,
        "to_string(" * 10 + "saga" + ")" * 10,
        "map(&[@,@,@,@,@,@,@,@,@,@,@], [saga,saga,saga,saga,saga,saga,saga,saga,saga,saga])",
        "saga.tags[?a].[@,@,@,@,@,@,@,@,@,@,@] | [@,@,@,@,@,@,@,@,@,@,@]",
    ],
)
def test_an_expression_that_grows_without_measure_is_told(expression: str) -> None:
    assert any("100 times" in one for one in compile_reference(expression).reading.complaints)


def test_a_join_looks_at_the_length_before_it_makes_the_text() -> None:
    context = {"saga": {"text": "x" * 500_000, "list": ["y"] * 500_000}, "steps": {}}
    begun = time.perf_counter()
    with pytest.raises(MappingError, match="more than 1048576 bytes"):
        fill({"$from": "join(saga.text, saga.list)"}, context)
    assert time.perf_counter() - begun < 2.0
