"""Validation: what is accepted, what is refused, and that all faults are told at once."""

from __future__ import annotations

import copy
import datetime
import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagakeep import limits
from sagakeep.conversion import read_struct
from sagakeep.definition import InDoubt, RetryPolicy, SagaDefinition, StepKind
from sagakeep.errors import InvalidDefinition
from sagakeep.faults import FAULTS_MAX, Faults, found
from sagakeep.json_text import parse_json
from sagakeep.mapping import EXPRESSION_CHARS_MAX
from sagakeep.order import REFERENCE_CHARS_MAX, REFERENCES_MAX
from sagakeep.validation import parse_definition

SERVICES = frozenset({"inventory", "payment"})
EXAMPLE = b"""
    {
      "id": "order-1042",
      "name": "order_processing",
      "steps": [
        {
          "id": "reserve_inventory",
          "service": "inventory",
          "action": "reserve",
          "compensation": "release",
          "payload": {"productId": "prod_123", "quantity": 2},
          "maxRetries": 3,
          "timeout": 30
        },
        {
          "id": "process_payment",
          "service": "payment",
          "action": "charge",
          "compensation": "refund",
          "payload": {"amount": 99.99, "currency": "USD",
                      "reservation": {"$from": "steps.reserve_inventory.result.reservationId"}},
          "compensationMaxRetries": 10,
          "compensationPayload": {"charge": {"$from": "steps.process_payment.result.chargeId"}},
          "dependsOn": ["reserve_inventory"],
          "kind": "compensatable",
          "inDoubt": "undo",
          "probe": "charge_status",
          "retry": {"initialInterval": 1, "multiplier": 2, "maxInterval": 60, "maxElapsed": 600},
          "sensitive": ["/card/number"]
        }
      ],
      "timeout": 300,
      "maxRetries": 3,
      "onFailure": "compensate",
      "tags": {"customer": "c-7"}
    }
"""
Document = dict[str, Any]  # JSON that the tests bend


def step(step_id: str = "a", **fields: object) -> Document:
    return {"id": step_id, "service": "inventory", "action": "do", **fields}


def saga(*steps: Document, **fields: object) -> Document:
    return {"name": "n", "steps": list(steps) or [step()], **fields}


def faults_of(document: object) -> dict[str, str]:
    """Return the faults by pointer, {} when the document is accepted."""
    try:
        parse_definition(document, SERVICES)
    except InvalidDefinition as error:
        return dict(error.faults)
    return {}


def set_at(document: Document, pointer: str, value: object) -> Document:
    """Return a copy with the value at a pointer of existing containers set."""
    changed = copy.deepcopy(document)
    *way, last = pointer.split("/")[1:]
    target: Any = changed
    for token in way:
        target = target[int(token)] if isinstance(target, list) else target.setdefault(token, {})
    target[last] = value
    return changed


def test_the_example_of_the_specification_is_accepted() -> None:
    definition = parse_definition(parse_json(EXAMPLE), SERVICES)
    first, second = definition.steps
    assert (definition.id, definition.tags) == ("order-1042", {"customer": "c-7"})
    assert (first.depends_on, second.depends_on) == ((), ("reserve_inventory",))
    assert second.retry == RetryPolicy(1.0, 2.0, 60.0, 600.0)
    assert (second.kind, second.in_doubt) == (StepKind.COMPENSATABLE, InDoubt.UNDO)
    assert first.compensation_payload is None


def test_services_are_not_checked_without_a_list_of_them() -> None:
    assert parse_definition(saga(step(service="nowhere")), None).steps[0].service == "nowhere"


def test_an_absent_depends_on_is_the_step_before() -> None:
    document = saga(step("a"), step("b"), step("c", dependsOn=[]), step("d"))
    depends_on = [one.depends_on for one in parse_definition(document, None).steps]
    assert depends_on == [(), ("a",), (), ("c",)]


@pytest.mark.parametrize("payload", [{}, [], [1], "text", 0, 1.5, True, None])
def test_a_payload_is_any_json_value(payload: object) -> None:
    assert parse_definition(saga(step(payload=payload)), None).steps[0].payload == payload


def test_nulls_that_mean_absent_are_accepted() -> None:
    document = saga(step(compensationPayload=None, retry={"maxElapsed": None}))
    (only,) = parse_definition(document, None).steps
    assert (only.compensation_payload, only.retry.elapsed_s_max) == (None, None)


def test_an_empty_compensation_or_probe_is_none_at_all() -> None:
    assert faults_of(saga(step(compensation="", probe=""))) == {}


FIELDS = {
    "/id": "a string",
    "/name": "a string",
    "/steps": "an array",
    "/timeout": "a number",
    "/maxRetries": "an integer",
    "/onFailure": "one of compensate, hold",
    "/tags": "an object",
    "/tags/k": "a string",
    "/steps/0": "an object",
    "/steps/0/id": "a string",
    "/steps/0/service": "a string",
    "/steps/0/action": "a string",
    "/steps/0/compensation": "a string",
    "/steps/0/maxRetries": "an integer",
    "/steps/0/timeout": "a number",
    "/steps/0/compensationMaxRetries": "an integer",
    "/steps/0/dependsOn": "an array",
    "/steps/0/kind": "one of compensatable, pivot, retriable, readOnly",
    "/steps/0/inDoubt": "one of undo, probe, hold",
    "/steps/0/probe": "a string",
    "/steps/0/retry": "an object",
    "/steps/0/retry/initialInterval": "a number",
    "/steps/0/retry/multiplier": "a number",
    "/steps/0/retry/maxInterval": "a number",
    "/steps/0/retry/maxElapsed": "a number or null",
    "/steps/0/sensitive": "an array",
}
WRONG: dict[str, list[object]] = {
    "a string": [None, True, 1, 1.5, [], {}],
    "an integer": [None, True, False, 1.5, 3.0, "3", [], {}],
    "a number": [None, True, False, "3", "NaN", [], {}],
    "a number or null": [True, "3", [], {}],
    "an array": [None, True, 1, "x", {}],
    "an object": [None, True, 1, "x", []],
}


@pytest.mark.parametrize(
    ("pointer", "expected", "value"),
    [
        (pointer, expected, value)
        for pointer, expected in FIELDS.items()
        for value in WRONG.get(expected, [None, True, 1, "sideways", "", [], {}])
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_its_place(
    pointer: str, expected: str, value: object
) -> None:
    document = saga(step(retry={}), tags={})
    if pointer == "/steps/0":
        document["steps"] = [value]
    else:
        document = set_at(document, pointer, value)
    faults = faults_of(document)
    assert list(faults) == [pointer]
    assert f"is {found(value)}; expected {expected}" in faults[pointer]


@pytest.mark.parametrize("value", [None, 1, True, [], {}])
@pytest.mark.parametrize("field", ["dependsOn", "sensitive"])
def test_an_item_of_the_wrong_type_is_refused_in_its_place(field: str, value: object) -> None:
    good = "/x" if field == "sensitive" else "a"
    faults = faults_of(saga(step("a"), step("b", **{field: [good, value]})))
    assert list(faults) == [f"/steps/1/{field}/1"]


@pytest.mark.parametrize("document", [None, True, 1, "x", [], [{"name": "n"}]])
def test_what_is_no_object_is_refused_as_a_whole(document: object) -> None:
    assert list(faults_of(document)) == [""]


def test_missing_fields_are_all_told() -> None:
    assert list(faults_of({})) == ["/name", "/steps"]
    assert list(faults_of({"name": "n", "steps": [{}]})) == [
        "/steps/0/id",
        "/steps/0/service",
        "/steps/0/action",
    ]


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    document = saga(step(max_retries=1, retry={"initial": 1}), timeOut=3, zzzz=1)
    faults = faults_of(document)
    assert faults["/timeOut"] == 'is an unknown field; did you mean "timeout"?'
    assert 'did you mean "maxRetries"?' in faults["/steps/0/max_retries"]
    assert 'did you mean "initialInterval"?' in faults["/steps/0/retry/initial"]
    assert faults["/zzzz"].startswith("is an unknown field; known: id, maxRetries, name")
    assert len(faults) == 4


def test_an_unknown_service_is_refused_with_the_nearest_name() -> None:
    faults = faults_of(saga(step(service="inventry")))
    assert faults == {
        "/steps/0/service": 'is the string "inventry", which is not configured; did you mean "inventory"?'
    }  # fmt: skip
    with pytest.raises(InvalidDefinition) as caught:
        parse_definition(saga(), [])
    assert caught.value.faults[0].detail.endswith("which is not configured")


NAMES = ["/id", "/name"] + [
    f"/steps/0/{field}" for field in ("id", "service", "action", "compensation", "probe")
]


@pytest.mark.parametrize("pointer", NAMES)
@pytest.mark.parametrize("name", ["a", "0", "A.b_c:d-e", "x" * 128])
def test_a_name_within_the_pattern_is_accepted(pointer: str, name: str) -> None:
    parse_definition(set_at(saga(), pointer, name), None)


@pytest.mark.parametrize("pointer", NAMES)
@pytest.mark.parametrize(
    "name", ["x" * 129, "-a", ".a", "a b", "a/b", "é", "a\n", "\n", " ", "a\0"]
)
def test_a_name_outside_the_pattern_is_refused(pointer: str, name: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        parse_definition(set_at(saga(), pointer, name), None)
    assert [fault.pointer for fault in caught.value.faults] == [pointer]
    assert "a name matches" in caught.value.faults[0].detail


@pytest.mark.parametrize(
    "pointer", ["/id", "/name", "/steps/0/id", "/steps/0/service", "/steps/0/action"]
)
def test_an_empty_name_is_refused(pointer: str) -> None:
    assert list(faults_of(set_at(saga(), pointer, ""))) == [pointer]


@pytest.mark.parametrize("word", sorted(limits.RESERVED_IDS))
def test_a_word_of_the_routes_is_no_id_of_a_saga(word: str) -> None:
    assert "reserved are batch, bulk, events, health" in faults_of(saga(id=word))["/id"]
    assert faults_of(saga(step(word), name=word)) == {}


SECONDS = ["/timeout", "/steps/0/timeout"] + [
    f"/steps/0/retry/{field}" for field in ("initialInterval", "maxInterval", "maxElapsed")
]
DAYS_30 = 30 * 24 * 3600


@pytest.mark.parametrize("pointer", SECONDS)
@pytest.mark.parametrize("seconds", [DAYS_30, float(DAYS_30), 0.001, 1e-9])
def test_seconds_within_the_bounds_are_accepted(pointer: str, seconds: float) -> None:
    assert faults_of(set_at(saga(), pointer, seconds)) == {}


@pytest.mark.parametrize("pointer", SECONDS)
@pytest.mark.parametrize(
    "seconds", [0, 0.0, -0.0, -1, DAYS_30 + 1, DAYS_30 + 0.1, 1e300, float("nan"), float("inf")]
)
def test_seconds_outside_the_bounds_are_refused(pointer: str, seconds: float) -> None:
    faults = faults_of(set_at(saga(), pointer, seconds))
    assert list(faults) == [pointer]
    assert "allowed is above 0 up to 2592000 (30 days)" in faults[pointer]


COUNTS = ["/maxRetries", "/steps/0/maxRetries", "/steps/0/compensationMaxRetries"]


@pytest.mark.parametrize("pointer", COUNTS)
@pytest.mark.parametrize(
    ("count", "is_accepted"), [(0, 1), (100, 1), (-1, 0), (101, 0), (2**64, 0)]
)
def test_retries_are_from_0_to_100(pointer: str, count: int, is_accepted: int) -> None:
    faults = faults_of(set_at(saga(), pointer, count))
    assert list(faults) == ([] if is_accepted else [pointer])


def test_an_explicit_zero_is_zero() -> None:
    document = saga(step(maxRetries=0, compensationMaxRetries=0), maxRetries=0)
    definition = parse_definition(document, None)
    assert definition.retries_max == 0
    assert definition.steps[0].retries_max == 0
    assert definition.steps[0].compensation_retries_max == 0


@pytest.mark.parametrize(
    ("value", "is_accepted"), [(1, 1), (100, 1), (0.99, 0), (100.1, 0), (0, 0)]
)
def test_a_multiplier_is_from_1_to_100(value: float, is_accepted: int) -> None:
    faults = faults_of(saga(step(retry={"multiplier": value})))
    assert list(faults) == ([] if is_accepted else ["/steps/0/retry/multiplier"])


@pytest.mark.parametrize("pointer", ["/maxRetries", "/timeout"])
def test_an_integer_of_thousands_of_digits_is_refused_shortly(pointer: str) -> None:
    (detail,) = faults_of(saga(**{pointer[1:]: 10**6000})).values()
    assert len(detail) < 200


def test_a_saga_has_1_to_200_steps() -> None:
    def steps(count: int) -> list[Document]:
        return [step(f"s{at}") for at in range(count)]

    assert faults_of(saga(*steps(200))) == {}
    assert faults_of(saga(*steps(201)))["/steps"] == "has 201 steps; allowed are 1 to 200"
    assert list(faults_of({"name": "n", "steps": []})) == ["/steps"]


def test_tags_are_up_to_32_of_up_to_256_characters() -> None:
    longest = "x" * 256
    assert faults_of(saga(tags={longest: longest, "é" * 256: ""})) == {}
    assert faults_of(saga(tags={f"k{at}": "v" for at in range(32)})) == {}
    assert faults_of(saga(tags={f"k{at}": "v" for at in range(33)})) == {
        "/tags": "has 33 tags; allowed are 32"
    }
    faults = faults_of(saga(tags={"long": longest + "x", longest + "x": "v", "": "v"}))
    assert faults["/tags/long"] == "has 257 characters; allowed are up to 256"
    assert faults["/tags/"] == "has a key of 0 characters; allowed are 1 to 256"
    assert len(faults) == 3


def test_a_step_id_is_unique() -> None:
    faults = faults_of(saga(step("a"), step("b"), step("a"), step("a")))
    assert list(faults) == ["/steps/2/id", "/steps/3/id"]
    assert "the id of /steps/0 too" in faults["/steps/2/id"]


def test_depends_on_names_other_steps_once() -> None:
    faults = faults_of(
        saga(step("charge"), step("b", dependsOn=["charg", "b", "charge", "charge", ""]))
    )
    assert list(faults) == [f"/steps/1/dependsOn/{at}" for at in (0, 1, 3, 4)]
    assert 'did you mean "charge"?' in faults["/steps/1/dependsOn/0"]
    assert "the step itself" in faults["/steps/1/dependsOn/1"]
    assert "there already" in faults["/steps/1/dependsOn/3"]


def test_depends_on_may_name_a_later_step() -> None:
    assert faults_of(saga(step("a", dependsOn=["b"]), step("b", dependsOn=[]))) == {}


def test_a_cycle_is_told_in_full_at_its_first_step() -> None:
    faults = faults_of(saga(step("a", dependsOn=["c"]), step("b"), step("c")))
    assert faults == {
        "/steps/0/dependsOn": "makes a cycle, each waiting for the next: a -> c -> b -> a"
    }


def test_a_long_cycle_is_cut_in_the_telling() -> None:
    steps = [step(f"s{at}") for at in range(200)]
    steps[0]["dependsOn"] = ["s199"]
    (detail,) = faults_of(saga(*steps)).values()
    assert detail.endswith("-> ... -> s0")
    assert len(detail) < 300


def test_there_is_at_most_one_pivot() -> None:
    assert faults_of(saga(step("a"), step("b", kind="pivot"))) == {}
    faults = faults_of(
        saga(
            step("a", kind="pivot"), step("b", kind="pivot"), step("c", kind="pivot", dependsOn=[])
        )
    )
    assert list(faults) == ["/steps/1/kind", "/steps/2/kind"]
    assert '"a" is the pivot' in faults["/steps/2/kind"]


def test_a_step_after_the_pivot_is_retriable_or_reads_only() -> None:
    pivot = step("p", kind="pivot", compensation="undo")
    accepted = saga(step("a"), pivot, step("b", kind="retriable"), step("c", kind="readOnly"))
    assert faults_of(accepted) == {}
    refused = saga(pivot, step("b", kind="retriable"), step("c"), step("d", kind="compensatable"))
    faults = faults_of(refused)
    assert list(faults) == ["/steps/2/kind", "/steps/3/kind"]
    assert 'after the pivot "p"' in faults["/steps/2/kind"]


def test_a_step_beside_the_pivot_may_be_compensatable() -> None:
    assert faults_of(saga(step("p", kind="pivot"), step("b", dependsOn=[]))) == {}


def test_a_retriable_step_needs_no_pivot() -> None:
    assert faults_of(saga(step("a", kind="retriable"), step("b", kind="pivot"))) == {}


def test_a_step_that_reads_only_has_nothing_to_undo() -> None:
    assert faults_of(saga(step(kind="readOnly", compensation=""))) == {}
    faults = faults_of(saga(step(kind="readOnly", compensation="undo")))
    assert "nothing to undo" in faults["/steps/0/compensation"]


def test_in_doubt_probe_needs_a_probe() -> None:
    assert faults_of(saga(step(inDoubt="probe", probe="ask"))) == {}
    for fields in ({}, {"probe": ""}):
        assert list(faults_of(saga(step(inDoubt="probe", **fields)))) == ["/steps/0/probe"]


def test_sensitive_holds_json_pointers() -> None:
    assert faults_of(saga(step(sensitive=["", "/", "/a~0~1b/0"]))) == {}
    faults = faults_of(saga(step(sensitive=["a", "/ok", "/~2", "/~"])))
    assert list(faults) == [f"/steps/0/sensitive/{at}" for at in (0, 2, 3)]


def from_(expression: object) -> Document:
    return {"$from": expression}


@pytest.mark.parametrize("field", ["payload", "compensationPayload"])
def test_a_reference_may_read_ancestors_and_the_saga(field: str) -> None:
    refers = {field: [{"x": from_("steps.a.result")}, from_("saga.id"), from_("steps.b.outcome")]}
    assert faults_of(saga(step("a"), step("b"), step("c", **refers))) == {}


def test_a_reference_to_a_step_that_is_no_ancestor_is_refused() -> None:
    refers = from_("[steps.beside.result, steps.a.result]")
    document = saga(
        step("a"), step("beside", dependsOn=[]), step("c", dependsOn=["a"], payload=refers)
    )
    faults = faults_of(document)
    assert list(faults) == ["/steps/2/payload/$from"]
    assert (
        'reads the string "beside", which need not be done by then'
        in faults["/steps/2/payload/$from"]
    )


def test_only_a_compensation_payload_may_read_its_own_step() -> None:
    own = from_("steps.a.result")
    assert faults_of(saga(step("a", compensationPayload=own))) == {}
    assert list(faults_of(saga(step("a", payload=own)))) == ["/steps/0/payload/$from"]


def test_a_compensation_payload_may_not_read_a_later_step() -> None:
    document = saga(step("a", compensationPayload=from_("steps.b.result")), step("b"))
    assert list(faults_of(document)) == ["/steps/0/compensationPayload/$from"]


def test_a_reference_to_no_step_is_refused_and_tells_how_to_quote() -> None:
    faults = faults_of(saga(step("a-b"), step("c", payload={"x": from_("steps.a_b.result")})))
    assert 'did you mean "a-b"?' in faults["/steps/1/payload/x/$from"]
    assert 'as in steps."a-b".result' in faults["/steps/1/payload/x/$from"]
    faults = faults_of(saga(step("a-b"), step("c", payload={"x": from_("steps.a-b.result")})))
    assert "is no JMESPath" in faults["/steps/1/payload/x/$from"]
    assert 'as in steps."a-b".result' in faults["/steps/1/payload/x/$from"]
    assert faults_of(saga(step("a-b"), step("c", payload=from_('steps."a-b".result')))) == {}


@pytest.mark.parametrize("value", [None, 1, True, [], {}, ["saga.id"]])
def test_a_reference_is_a_string(value: object) -> None:
    assert list(faults_of(saga(step(payload=[from_(value)])))) == ["/steps/0/payload/0/$from"]


def test_a_reference_stands_alone() -> None:
    faults = faults_of(saga(step(payload={"a/b": {"$from": "saga.id", "default": 1}})))
    assert list(faults) == ["/steps/0/payload/a~1b"]


def test_several_complaints_about_one_reference_are_told_together() -> None:
    (detail,) = faults_of(saga(step(payload=from_("[order, steps.x.res]")))).values()
    assert 'reads "order"' in detail
    assert 'reads "res"' in detail
    assert 'reads the string "x", no step of this saga' in detail


def test_a_cycle_does_not_hide_what_is_wrong_with_a_reference() -> None:
    document = saga(step("a", dependsOn=["b"], payload=from_("steps.")), step("b", kind="pivot"))
    assert list(faults_of(document)) == ["/steps/0/dependsOn", "/steps/0/payload/$from"]


def test_references_are_accepted_to_their_limit_and_refused_beyond() -> None:
    many = [from_("saga.id")] * REFERENCES_MAX
    assert faults_of(saga(step(payload=many))) == {}
    faults = faults_of(saga(step(payload=many, compensationPayload=from_("saga.id"))))
    assert list(faults) == ["/steps"]
    assert "allowed are 1000 of together 65536 characters" in faults["/steps"]


def test_expressions_are_accepted_to_their_length_in_all_and_refused_beyond() -> None:
    longest = "saga." + "x" * (EXPRESSION_CHARS_MAX - 5)
    many = [from_(longest)] * (REFERENCE_CHARS_MAX // EXPRESSION_CHARS_MAX)
    assert faults_of(saga(step(payload=many))) == {}
    assert list(faults_of(saga(step(payload=[*many, from_("a")])))) == ["/steps"]


def test_all_faults_are_told_at_once() -> None:
    document = {
        "id": "health",
        "name": "",
        "timeout": 0,
        "maxRetries": "3",
        "colour": "red",
        "tags": {"k": 1},
        "steps": [
            step("a", timeout=True, retry={"multiplier": 0}, dependsOn=["a"]),
            step("a", service="shipping", kind="piv"),
            "no step",
            step("c", payload=from_("steps.zebra.result"), sensitive=["x"], inDoubt="probe"),
            step("d", dependsOn=["e"]),
            step("e", maxRetries=101),
        ],
    }
    assert set(faults_of(document)) == {
        "/id",
        "/name",
        "/timeout",
        "/maxRetries",
        "/colour",
        "/tags/k",
        "/steps/0/timeout",
        "/steps/0/retry/multiplier",
        "/steps/0/dependsOn/0",
        "/steps/1/id",
        "/steps/1/service",
        "/steps/1/kind",
        "/steps/2",
        "/steps/3/payload/$from",
        "/steps/3/sensitive/0",
        "/steps/3/probe",
        "/steps/4/dependsOn",
        "/steps/5/maxRetries",
    }


def test_faults_are_listed_to_their_limit() -> None:
    begun = time.perf_counter()
    faults = faults_of(saga(**{f"unknown{at}": at for at in range(50_000)}))
    assert len(faults) == FAULTS_MAX
    assert time.perf_counter() - begun < 2.0


def test_a_very_long_value_or_key_makes_no_long_fault() -> None:
    faults = faults_of(saga(**{"k" * 100_000: 1}, timeout="x" * 100_000))
    assert sum(len(pointer) + len(detail) for pointer, detail in faults.items()) < 1_000


def test_a_parsed_definition_survives_its_storage() -> None:
    definition = parse_definition(parse_json(EXAMPLE), SERVICES)
    stored = json.loads(json.dumps(msgspec.to_builtins(definition)))
    assert msgspec.convert(stored, SagaDefinition) == definition
    assert parse_definition(stored, SERVICES) == definition


def test_a_document_of_foreign_types_is_refused() -> None:
    assert list(faults_of({"name": "n", "steps": [step()], 1: 2})) == ["/1"]
    assert list(faults_of(saga(timeout=object()))) == ["/timeout"]


class Lookalike(msgspec.Struct):
    """Has the members of a document, but is none."""

    name: str


def test_what_only_one_of_the_two_ways_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_nothing(
        kind: type[SagaDefinition], document: object, faults: Faults
    ) -> SagaDefinition:
        return SagaDefinition(name="n", steps=parse_definition(saga(), None).steps)

    monkeypatch.setattr("sagakeep.validation.read_struct", read_nothing)
    assert list(faults_of(Lookalike("n"))) == [""]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5),
    lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=5), one, max_size=4),
    max_leaves=10,
)
SPOTS = [*FIELDS, "/steps/0/payload", "/steps/0/compensationPayload", "/steps/1/dependsOn", "/x"]
NEARLY = st.sampled_from(
    [None, True, 0, 1, -1, 3.0, "", "a", "b", "pivot", "hold", "probe", [], ["a"], ["b"], ["/x"], {},
     {"a": "b"}, {"$from": "steps.a.result"}, {"$from": "x"}, {"multiplier": 2}, [{"$from": 1}]]
)  # fmt: skip


@given(JSON_VALUES)
def test_any_json_is_refused_with_faults_or_accepted(document: object) -> None:
    for one in (document, saga(), {"name": "n", "steps": [document]}):
        faults_of(one)


@given(st.dictionaries(st.sampled_from(SPOTS), NEARLY | JSON_VALUES, max_size=6))
def test_the_fast_way_and_the_slow_way_agree(changes: dict[str, object]) -> None:
    document: Document = saga(step("a", retry={}), step("b"), tags={})
    for pointer, value in changes.items():
        try:
            document = set_at(document, pointer, value)
        except (TypeError, KeyError, ValueError, IndexError, AttributeError):
            continue  # an earlier change left no such place
    faults = Faults()
    slow = read_struct(SagaDefinition, document, faults)
    try:
        fast = msgspec.convert(document, SagaDefinition, strict=True)
    except msgspec.ValidationError:
        assert faults
    else:
        assert not faults
        assert repr(slow) == repr(fast)  # repr, for NaN is not equal to itself
    faults_of(document)


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": [float("nan")]}, "/a/0"),
        (float("-inf"), ""),
        (object(), ""),
        ({"at": datetime.datetime(2026, 1, 1)}, "/at"),
        (b"x", ""),
        (1 << 64, ""),
        ("\ud800", ""),
        ({1: "x"}, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_no_json_has_is_a_fault_where_it_is(value: object, pointer: str) -> None:
    """A client in Python can give what HTTP cannot; a NaN would reach the service as null."""
    with pytest.raises(InvalidDefinition) as caught:
        parse_definition(saga(step("a", payload=value)), None)
    assert [fault.pointer for fault in caught.value.faults] == [f"/steps/0/payload{pointer}"]
