"""Erasure: what stands in the place of a record whose saga was deleted, as long as the record was.

    [1, saga_id, sequence, at_utc_s, previous, [event, event, ...]]
    [1, saga_id, sequence, at_utc_s, previous, [[127], [127, "", filler], ...]]

Nothing in the journal moves by it: the records around it are found where they were, the chain of the saga's
records holds, and its events keep their numbers. Of a creation the key stays: no other saga is made under it.

Pure: bytes to bytes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

import msgspec

from sagakeep import events as e
from sagakeep.codec import UNREADABLE, CodecError, encode_plain, glance, unpacker_of

_CREATED, _DELETED, _ERASED = (
    kind.__struct_config__.tag for kind in (e.SagaCreated, e.SagaDeleted, e.SagaErased)
)
_KEY_AT: Final = 1 + e.SagaCreated.__struct_fields__.index("idempotency_key")
_FIELDS_BEFORE: Final = 5  # of a record, before its events
_ARRAY_HEADERS: Final = {0xDC: 3, 0xDD: 5}  # bytes, by the first one; any other has one
_BINARIES: Final = (
    (0xC4, 1, 0xFF),
    (0xC5, 2, 0xFFFF),
    (0xC6, 4, 0xFFFFFFFF),
)  # the first byte, how many bytes of length follow it, the most they say
_MISFITS: Final = (TypeError, LookupError, msgspec.ValidationError, *UNREADABLE)


class Link(NamedTuple):
    """What of a record says where it belongs, and what became of it."""

    saga_id: str
    previous: tuple[int, int] | None
    is_erased: bool
    is_deletion: bool  # and nothing else: it stays, and says who wished it


def link_of(data: bytes) -> Link:
    """Look at the record with which `data` begins, without decoding what its events say. Raises CodecError."""
    try:
        _, saga_id, _, _, previous, [[tag, *_], *rest] = unpacker_of(data).unpack()
        before = msgspec.convert(previous, tuple[int, int] | None)
        return Link(str(saga_id), before, tag == _ERASED, tag == _DELETED and not rest)
    except _MISFITS as error:
        raise CodecError(f"not a record: {error}") from error


def erase_records(body: bytes, offsets: Collection[int]) -> bytes:
    """Erase the records of a frame's body that begin at these offsets. May be repeated. Raises CodecError."""
    changed, missing = bytearray(body), set(offsets)
    for seen in glance(body):
        if seen.offset in missing:
            missing.discard(seen.offset)
            changed[seen.offset : seen.end] = erase_record(body[seen.offset : seen.end])
    if missing:
        at = min(missing)
        raise CodecError(f"offset {at} of the frame: no record begins there", at)
    return bytes(changed)


def erase_record(data: bytes) -> bytes:
    """Return what stands in the place of a record. Raises CodecError."""
    unpacker: Any = unpacker_of(data)
    try:
        unpacker.read_array_header()
        for _ in range(_FIELDS_BEFORE):
            unpacker.skip()
        at = unpacker.tell()
        count, first = unpacker.read_array_header(), unpacker.unpack()
        events: list[list[object]] = [[_ERASED] for _ in range(count)]
        if key := _key_of(first):
            events[0].append(key)
    except _MISFITS as error:
        raise CodecError(f"not a record: {error}") from error
    before = data[: at + _ARRAY_HEADERS.get(data[at], 1)]
    kept = b"".join(map(encode_plain, events[:-1]))
    return before + kept + _of_length(events[-1], len(data) - len(before) - len(kept))


def _key_of(event: list[object]) -> object:
    """The key of a creation, also of one that is erased already."""
    if event[0] == _CREATED:
        return event[_KEY_AT]
    return event[1] if event[0] == _ERASED and len(event) > 1 else ""


def _of_length(event: list[object], length: int) -> bytes:
    """Encode an erased event so that it has this length; two bytes is the shortest, and no event is shorter."""
    plain = encode_plain(event)
    if len(plain) < length and len(event) == 1:
        event = [*event, ""]
        plain = encode_plain(event)
    if len(plain) == length:
        return plain
    return encode_plain([*event, None])[:-1] + _filler(length - len(plain))


def _filler(length: int) -> bytes:
    """A value of this length that says nothing."""
    if length == 1:
        return b"\xc0"
    first, size, _ = next(one for one in _BINARIES if length - 1 - one[1] <= one[2])
    count = length - 1 - size
    return b"".join((bytes([first]), count.to_bytes(size, "big"), b"\1" * count))
