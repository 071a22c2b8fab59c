"""Records and states as bytes: round trips, golden bytes, and every way to be malformed."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgpack
import pytest
from event_samples import DEFINITION, SAMPLES
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace
from scenario import Saga

from sagakeep import codec
from sagakeep import events as e
from sagakeep.codec import (
    CodecError,
    decode_plain,
    decode_record,
    decode_records,
    decode_state,
    encode_plain,
    encode_record,
    encode_state,
    glance_at_state,
)
from sagakeep.service import AttemptResult, Outcome

PAGE = Path(__file__).parent.parent / "docs" / "journal.md"
GOLDEN = Path(__file__).parent / "golden" / "records_v1.txt"


def record_of(*events: e.AnyEvent) -> e.Record:
    return e.Record("order-1", 7, 1_700_000_000.25, (4096, 17), events)


def name_of(event: e.Event) -> str:
    return e.EVENT_NAMES[type(event)][0]


def plain_of(event: e.AnyEvent) -> list[Any]:
    """A record of one event, as lists that a test may spoil."""
    plain: list[Any] = msgpack.unpackb(encode_record(record_of(event)))
    return plain


@pytest.mark.parametrize("event", SAMPLES, ids=name_of)
def test_an_event_comes_back_equal(event: e.AnyEvent) -> None:
    assert decode_record(encode_record(record_of(event))) == record_of(event)


def test_every_kind_of_event_has_a_sample_without_defaults() -> None:
    assert {type(sample) for sample in SAMPLES} == set(e.EVENT_NAMES)
    for sample in SAMPLES:
        defaults = sample.__struct_defaults__
        assert all(
            value != default
            for value, default in zip(astuple(sample)[::-1], defaults[::-1], strict=False)
        ), sample


def test_the_first_record_of_a_saga_has_none_before_it() -> None:
    first = e.Record("s", 1, 0.5, None, (e.SagaCreated(DEFINITION), e.SagaStarted(1.5)))
    assert decode_record(memoryview(encode_record(first))) == first


@pytest.mark.parametrize("line", GOLDEN.read_text().splitlines() if GOLDEN.exists() else [])
def test_a_record_of_version_1_is_read_for_ever(line: str) -> None:
    name, _, text = line.partition(" ")
    (sample,) = [sample for sample in SAMPLES if name_of(sample) == name]
    older = type(sample)(
        *astuple(sample)[: fields_in(line)]
    )  # fields that came later are not there
    assert decode_record(bytes.fromhex(text)) == record_of(older)


def fields_in(line: str) -> int:
    """How many fields the one event of a golden record has, beside its tag."""
    (event,) = msgpack.unpackb(bytes.fromhex(line.partition(" ")[2]))[5]
    return len(event) - 1


def test_every_kind_of_event_has_a_golden_record(rewrite: bool) -> None:
    """`--rewrite` adds what is missing; a line that is there is never changed."""
    lines = GOLDEN.read_text().splitlines() if GOLDEN.exists() else []
    written = {(line.partition(" ")[0], fields_in(line)) for line in lines}
    missing = [one for one in SAMPLES if (name_of(one), len(astuple(one))) not in written]
    if rewrite and missing:
        GOLDEN.parent.mkdir(exist_ok=True)
        lines += [f"{name_of(one)} {encode_record(record_of(one)).hex()}" for one in missing]
        GOLDEN.write_text("\n".join(lines) + "\n")
    else:
        assert not missing


def test_a_frame_holds_records_one_behind_the_other() -> None:
    records = [record_of(sample) for sample in SAMPLES]
    encoded = [encode_record(record) for record in records]
    offsets = [sum(map(len, encoded[:at])) for at in range(len(encoded))]
    assert decode_records(b"".join(encoded)) == list(zip(offsets, records, strict=True))
    assert decode_record(encoded[3] + encoded[4]) == records[3]
    assert decode_records(b"") == []


def test_a_damaged_record_of_a_frame_is_named_by_its_offset() -> None:
    good = encode_record(record_of(e.SagaCompleted()))
    for bad in (good[:-1], msgpack.packb([1]), b"\xc1"):
        with pytest.raises(CodecError, match=f"offset {len(good)}") as caught:
            decode_records(good + bad)
        assert caught.value.offset == len(good)


def test_a_shorter_event_is_an_older_one_and_gets_the_defaults() -> None:
    plain = plain_of(e.StepCompleted("a", 2, "x", 0.5))
    plain[5][0] = plain[5][0][:3]
    assert decode_record(msgpack.packb(plain)).events == (e.StepCompleted("a", 2),)


def test_a_shorter_definition_is_an_older_one_and_gets_the_defaults() -> None:
    plain = plain_of(e.SagaCreated(DEFINITION))
    definition = plain[5][0][1]
    definition[1][1] = definition[1][1][:14]  # up to retry
    plain[5][0][1] = definition[:6]
    (created,) = decode_record(msgpack.packb(plain)).events
    assert created == e.SagaCreated(replace(DEFINITION, tags={}))


MALFORMED: list[tuple[str, Any]] = [
    ("not an array", 7),
    ("empty", []),
    ("no version", ["1", "s", 1, 0.5, None, []]),
    ("version is true", [True, "s", 1, 0.5, None, []]),
    ("version 0", [0, "s", 1, 0.5, None, []]),
    ("newer version", [codec.VERSION + 1, "s", 1, 0.5, None, []]),
    ("too short", [1, "s", 1, 0.5, None]),
    ("too long", [1, "s", 1, 0.5, None, [], 0]),
    ("id", [1, 7, 1, 0.5, None, []]),
    ("sequence", [1, "s", "1", 0.5, None, []]),
    ("time", [1, "s", 1, None, None, []]),
    ("previous", [1, "s", 1, 0.5, [1], []]),
    ("events", [1, "s", 1, 0.5, None, 7]),
    ("event is no array", [1, "s", 1, 0.5, None, [7]]),
    ("event is empty", [1, "s", 1, 0.5, None, [[]]]),
    ("unknown tag", [1, "s", 1, 0.5, None, [[99]]]),
    ("tag is an array", [1, "s", 1, 0.5, None, [[[1]]]]),
    ("creation without definition", [1, "s", 1, 0.5, None, [[1]]]),
    ("definition is no array", [1, "s", 1, 0.5, None, [[1, 7]]]),
    ("definition is empty", [1, "s", 1, 0.5, None, [[1, []]]]),
    ("step is too short", [1, "s", 1, 0.5, None, [[1, ["n", [["a"]]]]]]),
    ("outcome", [1, "s", 1, 0.5, None, [[6, "a", 1, "perhaps", ""]]]),
    ("a field is missing", [1, "s", 1, 0.5, None, [[6, "a", 1]]]),
    ("a field too many", [1, "s", 1, 0.5, None, [[8, "a"]]]),
]


@pytest.mark.parametrize(("why", "plain"), MALFORMED, ids=[why for why, _ in MALFORMED])
def test_a_malformed_record_is_refused(why: str, plain: object) -> None:
    with pytest.raises(CodecError):
        decode_record(msgpack.packb(plain))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91", b"\xa2\xff\xff", b"\x91" * 3000 + b"\xc0"])
def test_bytes_that_are_no_msgpack_are_refused(data: bytes) -> None:
    for decode in (decode_record, decode_state, decode_plain):
        with pytest.raises(CodecError):
            decode(data)


RECORD = encode_record(record_of(*SAMPLES))


@given(st.integers(0, len(RECORD) - 1), st.integers(0, 255), st.integers(0, len(RECORD)))
def test_damage_is_an_error_or_another_record(at: int, byte: int, end: int) -> None:
    damaged = bytearray(RECORD)
    damaged[at] = byte
    for data in (bytes(damaged), bytes(damaged[:end])):
        try:
            decode_record(data)
            decode_records(data)
        except CodecError:
            pass


@given(st.binary(max_size=200))
def test_noise_is_an_error_or_a_record(noise: bytes) -> None:
    for decode in (decode_record, decode_records, decode_state, decode_plain):
        try:
            decode(noise)
        except CodecError:
            pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
@example([[]])
@example({"": {}})
def test_json_comes_back_equal(value: object) -> None:
    event = e.StepCompleted("a", 1, value)
    assert decode_record(encode_record(record_of(event))).events == (event,)
    assert decode_plain(encode_plain(value)) == value


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", object(), {"s"}])
def test_what_cannot_be_written_fails_where_it_comes_from(value: object) -> None:
    with pytest.raises(CodecError, match="order-1"):
        encode_record(record_of(e.StepCompleted("a", 1, value)))
    assert encode_record(record_of(e.SagaCompleted())), "the packer is clean again"


def test_what_is_nested_too_deep_fails_where_it_comes_from() -> None:
    value: list[object] = []
    for _ in range(3000):
        value = [value]
    with pytest.raises(CodecError):
        encode_record(record_of(e.StepCompleted("a", 1, value)))


def test_an_older_record_is_lifted_one_version_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def swap(value: list[Any]) -> list[Any]:
        return [2, value[2], value[1], *value[3:]]

    def back(value: list[Any]) -> list[Any]:
        assert value[0] == 2
        return [3, value[2], value[1], *value[3:]]

    old = encode_record(record_of(e.SagaCompleted()))
    monkeypatch.setattr(codec, "VERSION", 3)
    monkeypatch.setitem(codec.UPCASTERS, 1, swap)
    monkeypatch.setitem(codec.UPCASTERS, 2, back)
    assert decode_record(old) == record_of(e.SagaCompleted())
    with pytest.raises(CodecError):
        decode_record(msgpack.packb([1, "s"]))


def state_of_a_saga_in_trouble() -> Saga:
    saga = Saga({"name": "n", "steps": [{"id": "a", "service": "s", "action": "do"}]})
    saga.create()
    saga.tell(saga.ended("a", AttemptResult(Outcome.UNKNOWN, error="late")), 1)
    return saga


def test_a_state_comes_back_equal() -> None:
    state = state_of_a_saga_in_trouble().now
    assert decode_state(encode_state(state, (4096, 17))) == (state, (4096, 17))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plain: plain[:3],
        lambda plain: [1, *plain[1:]],
        lambda plain: [*plain[:2], [], plain[3]],
        lambda plain: [*plain[:2], ["a", 1], plain[3]],
        lambda plain: [*plain[:3], {}],
        lambda plain: [*plain[:3], []],
        lambda plain: 7,
    ],
)
def test_a_malformed_state_is_refused(spoil: Any) -> None:
    plain = msgpack.unpackb(encode_state(state_of_a_saga_in_trouble().now, (0, 0)))
    with pytest.raises(CodecError):
        decode_state(msgpack.packb(spoil(plain)))


@pytest.mark.parametrize("wakes_at_utc_s", [None, 0.0, 12.5])
def test_the_beginning_of_a_state_tells_whose_it_is_and_when_it_wakes(
    wakes_at_utc_s: float | None,
) -> None:
    state = state_of_a_saga_in_trouble().now
    data = encode_state(state, (4096, 17), wakes_at_utc_s)
    assert glance_at_state(data) == (state.id, (4096, 17), wakes_at_utc_s)
    assert decode_state(data) == (state, (4096, 17))


@pytest.mark.parametrize(
    "plain", [7, [], [1, None, [1, 2], ["s"]], [2, None, [1], ["s"]], [2, "x", [1, 2], ["s"]], [2]]
)
def test_a_malformed_beginning_of_a_state_is_refused(plain: object) -> None:
    with pytest.raises(CodecError):
        glance_at_state(msgpack.packb(plain))


@pytest.mark.parametrize("sample", SAMPLES, ids=name_of)
def test_the_page_has_the_tag_and_fields_of_every_event(sample: e.AnyEvent) -> None:
    tag = type(sample).__struct_config__.tag
    (row,) = re.findall(
        rf"^\| {tag} \| {name_of(sample)} \| (.*)\|$", PAGE.read_text(), re.MULTILINE
    )
    listed = re.sub(r"\(.*?\)|`.*?`( or `.*?`)?", "", row).split(",")
    names = [words.split()[0] for words in listed if words.split()]
    assert tuple(names) == sample.__struct_fields__


def test_every_type_on_disk_is_ready_before_two_threads_can_want_it_first() -> None:
    """msgspec crashes the process when two threads are the first to convert to one type at once."""
    script = """
        import gc
        from sagakeep import codec, definition, events, state
        kinds = [state.SagaState, events.Record, *events.EVENT_NAMES, definition.SagaDefinition]
        kinds += [definition.Step, definition.RetryPolicy, state.StepState]
        for kind in kinds:
            about = {type(one).__name__ for one in gc.get_referents(kind)}
            assert "StructInfo" in about, f"{kind} is not ready"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


# What a repair took out


@pytest.mark.parametrize("length", [20, 262, 300, 70_000])
def test_a_void_is_as_long_as_the_record_was_and_is_skipped(length: int) -> None:
    void = codec.void_of(length)
    assert len(void) == length
    good = encode_record(record_of(SAMPLES[0]))
    assert [offset for offset, _ in decode_records(void + good + void)] == [length]
    assert [seen.offset for seen in codec.glance(void + good)] == [length]
    with pytest.raises(CodecError, match="no version"):
        decode_record(void)


@pytest.mark.parametrize("value", [[0, "text"], [False, b""], [0, b"", 1], [0]])
def test_what_only_looks_like_a_void_is_no_record(value: object) -> None:
    with pytest.raises(CodecError):
        decode_records(msgpack.packb(value))


def test_a_glance_stops_where_nothing_can_be_read_and_names_what_it_can() -> None:
    good = encode_record(record_of(SAMPLES[0]))
    seen = codec.glance(good + msgpack.packb([1, 2]) + b"\xc1" + good)
    assert [(one.offset, one.saga_id) for one in seen] == [
        (0, record_of(SAMPLES[0]).saga_id),
        (len(good), None),
    ]
    assert seen[0].events == len(record_of(SAMPLES[0]).events)
