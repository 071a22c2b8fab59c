"""Erased records: as long as they were, found where they were, and nothing of what they said is left."""

from __future__ import annotations

import msgpack
import pytest
from event_samples import DEFINITION, SAMPLES

from sagakeep import events as e
from sagakeep.codec import CodecError, decode_record, decode_records, encode_record
from sagakeep.erasure import erase_record, erase_records, link_of
from sagakeep.events import EVENT_NAMES
from sagakeep.transitions import fold

SECRET = "4929-1234-5678"


def record_of(*events, sequence=7, previous=(4096, 17)):
    return e.Record("order-1", sequence, 1_700_000_000.25, previous, events)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: EVENT_NAMES[type(event)][0])
def test_a_record_of_any_event_is_erased_in_place(event):
    data = encode_record(record_of(event))
    left = erase_record(data)
    assert len(left) == len(data)
    record = decode_record(left)
    assert record.is_erased
    assert record[:4] if isinstance(record, tuple) else True
    assert (record.saga_id, record.sequence, record.previous) == ("order-1", 7, (4096, 17))
    assert record.at_utc_s == 1_700_000_000.25
    assert [type(one) for one in record.events] == [e.SagaErased]
    assert erase_record(left) == left


@pytest.mark.parametrize("size", [*range(20), *range(240, 280), *range(65_500, 65_560)])
def test_a_record_of_any_length_is_erased_in_place(size):
    for events in (
        (e.SagaFailed("x" * size),),
        (e.SagaCompleted(), e.SagaFailed("x" * size)),
        (e.SagaFailed("x" * size), e.SagaCompleted()),
        (e.SagaCompleted(),) * (1 + size % 20),
    ):
        data = encode_record(record_of(*events))
        left = erase_record(data)
        assert len(left) == len(data)
        assert len(decode_record(left).events) == len(events)
        assert b"xx" not in left
        assert bytes(249) not in left, "a frame that was not stuffed may not need it now"


def test_a_record_of_very_many_events_or_bytes_is_erased_in_place():
    for events in ((e.SagaCompleted(),) * 70_000, (e.SagaFailed("x" * (1 << 17)),)):
        data = encode_record(record_of(*events))
        left = erase_record(data)
        assert len(left) == len(data)
        assert len(decode_record(left).events) == len(events)


def test_the_key_of_a_creation_stays_and_nothing_else_of_it():
    created = e.SagaCreated(DEFINITION, SECRET, "key-1", b"digest", SECRET)
    for events in ((created,), (created, e.SagaStarted(5.0))):
        data = encode_record(record_of(*events, sequence=1, previous=None))
        left = erase_record(data)
        first = decode_record(left).events[0]
        assert isinstance(first, e.SagaErased)
        assert first.idempotency_key == "key-1"
        assert len(left) == len(data)
        for gone in (SECRET, "digest", "reserve", "order\1", "stock"):
            assert gone.encode() not in left
        assert erase_record(left) == left


def test_records_of_a_body_are_erased_and_their_neighbours_stay():
    records = [encode_record(record_of(sample)) for sample in SAMPLES]
    body = b"".join(records)
    offsets = [offset for offset, _ in decode_records(body)]
    left = erase_records(body, offsets[1::2])
    found = decode_records(left)
    assert [offset for offset, _ in found] == offsets
    assert [one for _, one in found[::2]] == [one for _, one in decode_records(body)[::2]]
    assert all(one.is_erased for _, one in found[1::2])
    assert erase_records(left, offsets[1::2]) == left


def test_no_record_begins_elsewhere():
    body = encode_record(record_of(e.SagaCompleted()))
    with pytest.raises(CodecError, match="offset 3 of the frame: no record begins there"):
        erase_records(body, [0, 3])


@pytest.mark.parametrize(
    "value", [5, [1, "x"], [1, "x", 1, 0.5, None, 7], [1, "x", 1, 0.5, None, [7]]]
)
def test_what_is_no_record_is_refused(value):
    with pytest.raises(CodecError, match="not a record"):
        erase_record(msgpack.packb(value))
    with pytest.raises(CodecError, match="not a record"):
        link_of(msgpack.packb(value))


def test_a_link_says_where_a_record_belongs_and_what_became_of_it():
    plain = encode_record(record_of(e.SagaCompleted(), previous=None))
    deletion = encode_record(record_of(e.SagaDeleted("ann")))
    assert link_of(plain + deletion) == ("order-1", None, False, False)
    assert link_of(deletion) == ("order-1", (4096, 17), False, True)
    assert link_of(erase_record(plain)) == ("order-1", None, True, False)


# The fold


def history():
    return [
        record_of(e.SagaCreated(DEFINITION, "", "key-1"), sequence=1, previous=None),
        record_of(e.SagaStarted(5.0), e.StepStarted("a", 1, 1), sequence=2),
        record_of(e.StepCompleted("a", 1, {"card": SECRET}), sequence=4),
        record_of(e.SagaDeleted("ann"), sequence=5),
    ]


def erased(record):
    return decode_record(erase_record(encode_record(record)))


@pytest.mark.parametrize("mask", range(8))
def test_whatever_of_a_deleted_saga_is_erased_its_fold_is_deleted_and_says_nothing(mask):
    state = None
    for at, record in enumerate(history()):
        state = fold(state, erased(record) if mask >> at & 1 else record)
    assert state.deleted
    assert state.sequence == 5
    assert state.is_erased is (mask > 0)
    assert state.idempotency_key == "key-1"
    if mask:
        assert SECRET not in repr(state)
        assert not state.steps


def test_a_fold_may_begin_at_an_erased_record():
    *_, third, fourth = history()
    state = fold(fold(None, erased(third)), fourth)
    assert (state.deleted, state.is_erased, state.sequence) == (True, True, 5)
