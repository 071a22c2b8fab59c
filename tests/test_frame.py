"""Frames as pure bytes: what is written is read, and whatever happened to it is seen."""

from __future__ import annotations

import zlib
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sagakeep.runtime import frame
from sagakeep.runtime.frame import Place

BASE = 4096
PLACE = Place(frame.seed_of(b"0123456789abcdef"), BASE, 3, 77)


def file_of(*contents: bytes, offset: int = 128, room: int = 0) -> bytes:
    """Return a segment's bytes whose frames have these bodies, from `offset` on."""
    data, place = bytes(offset), PLACE
    for body in contents:
        encoded, crc = frame.encode(body, 1, len(data), place)
        data += encoded
        place = place._replace(previous_crc=crc)
    return data + bytes(room)


def bodies(data: bytes, offset: int = 128, place: Place = PLACE) -> list[bytes]:
    return [found.body for found in frame.walk(data, offset, place)]


@given(st.lists(st.binary(max_size=700), max_size=4), st.integers(0, 80), st.integers(0, 900))
@example([bytes(2000), b"\1" + bytes(248), bytes(249)], 0, 0)
def test_what_was_encoded_is_walked(contents: list[bytes], eighths: int, room: int) -> None:
    data = file_of(*contents, offset=8 * eighths, room=room)
    assert bodies(data, 8 * eighths) == contents


def test_a_header_has_the_documented_fields() -> None:
    data, crc = frame.encode(b"abc", 2, 128, PLACE, frame.CLOSED)
    assert len(data) == 48 == frame.frame_bytes(3)
    assert data[:8] == b"\xf5SGF\x03\0\0\0"
    assert data[40:] == b"abc\0END\xa5"
    header = frame.decode_header(data, 0, PLACE.seed)
    assert header == (3, BASE + 128, 3, 2, frame.CLOSED, 77, zlib.crc32(data[40:]), crc)


@pytest.mark.parametrize("length", range(17))
def test_a_frame_ends_at_a_multiple_of_eight_with_the_end_mark(length: int) -> None:
    data, _ = frame.encode(b"x" * length, 1, 128, PLACE)
    assert len(data) % 8 == 0
    assert data.endswith(frame.END_MARK)
    assert length + 44 <= len(data) < length + 52


def test_every_single_flipped_bit_of_a_frame_ends_the_walk_before_it() -> None:
    data = file_of(b"first", b"second")
    second = 128 + frame.frame_bytes(5)
    for bit in range(8 * 128, 8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert bodies(bytes(flipped)) == ([b"first"] if bit >= 8 * second else [])


@pytest.mark.parametrize(
    "other",
    [
        PLACE._replace(base=BASE + 8),
        PLACE._replace(epoch=4),
        PLACE._replace(previous_crc=78),
        PLACE._replace(seed=1),
    ],
)
def test_a_frame_of_another_place_epoch_chain_or_segment_does_not_fit(other: Place) -> None:
    assert bodies(file_of(b"one"), place=other) == []


def test_a_frame_with_an_unknown_flag_does_not_fit() -> None:
    data, _ = frame.encode(b"one", 1, 128, PLACE, 4)
    assert bodies(bytes(128) + data) == []


def test_no_run_of_zeros_in_a_body_leaves_a_sector_of_a_frame_one_bit_away_from_zeros() -> None:
    for length, ones in product((504, 505, 512, 1024, 3000), (0, 1, 255, 256, 500)):
        body = bytearray(length)
        body[ones : ones + 1] = b"\1"
        for offset in range(0, 512, 8):
            data, _ = frame.encode(bytes(body), 1, offset, PLACE)
            for first in range(-offset % 512, len(data) - 511, 512):
                assert sum(data[first : first + 512]) > 1


def test_a_body_is_stuffed_only_when_it_must_be() -> None:
    for zeros, stuffed in ((248, 0), (249, frame.STUFFED)):
        body = b"a" + bytes(zeros) + b"b"
        data, _ = frame.encode(body, 1, 128, PLACE)
        header = frame.decode_header(data, 0, PLACE.seed)
        assert header is not None
        assert header.flags == stuffed
        assert frame.decode_body(data, 0, header) == body


@given(st.binary(max_size=1000))
def test_stuffing_is_undone(body: bytes) -> None:
    assert frame.unstuff(frame.stuff(body)) == body


def test_a_later_frame_is_found_only_with_a_true_header_at_its_own_place() -> None:
    data = file_of(b"first", b"second", b"third")
    second = 128 + frame.frame_bytes(5)
    assert frame.look(data, 128, PLACE).later_frame == second
    moved = bytes(8) + data
    assert frame.look(moved, 136, PLACE).later_frame is None
    unsalted = data[:second] + b"\xf5SGF" * 200
    assert frame.look(unsalted, 128, PLACE).later_frame is None


def test_nothing_is_seen_beyond_the_end_of_the_file() -> None:
    sight = frame.look(bytes(130), 128, PLACE)
    assert sight == (128, 0, None, False, False, False, False, True)
