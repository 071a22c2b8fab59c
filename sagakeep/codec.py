"""Records and snapshots <-> bytes. The only importer of msgpack.

A record is one msgpack array; `docs/journal.md` (Records) describes it for other languages:

    [version, saga_id, sequence, at_utc_s, previous, [event, ...]]
     event      = [tag, field, ...]            tags and fields as in sagakeep.events
     definition = [name, [step, ...], ...]     the fields of sagakeep.definition, in their order
     previous   = [frame, offset] of the saga's record before this one, or nil

Fields that are appended have defaults, so a shorter array is an older one; a longer one was written by a newer
sagakeep and is refused, because what it says must not be skipped.

Encoding happens before a record is queued, so that what cannot be written fails where it came from and never
in the writer beside other sagas' records. Decoding trusts nothing: what does not fit is a CodecError.

A record of an older version is lifted to the current one by pure upcasters, one version at a time.

Where a repair has taken a record out stands `[0, bytes]`, of the same length, so that no position changes;
readers skip it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

import msgpack
import msgspec
from msgspec.structs import astuple

from sagakeep import events as e
from sagakeep.definition import RetryPolicy, SagaDefinition, Step
from sagakeep.errors import SagakeepError
from sagakeep.limits import JSON_DEPTH_MAX
from sagakeep.state import SagaState

VERSION: Final = 1
STATE_VERSION: Final = 3  # of what a snapshot holds; another one is passed over, and all is folded

# From version n to n + 1, on plain lists. Never edited once released, only added to.
UPCASTERS: Final[dict[int, Callable[[list[Any]], list[Any]]]] = {}


class CodecError(SagakeepError):
    """Bytes are not a record, or a value cannot be written as one. `offset` is where in a frame's body."""

    def __init__(self, detail: str, offset: int = 0) -> None:
        self.offset = offset
        super().__init__(detail)


# What a value of the wrong shape raises while it is taken apart.
_MISFITS: Final = (TypeError, ValueError, LookupError, RecursionError, msgspec.ValidationError)
UNREADABLE: Final = (ValueError, RecursionError, msgpack.UnpackException)
_VOID: Final = b"\x92\x00\xc6"  # an array of two, 0, and bytes whose length follows in four bytes
_UNWRITABLE: Final = (OverflowError, ValueError, TypeError, RecursionError)


Pack = Callable[[object], bytes]

# One packer, its buffer reused: for the thread of the actors only. What msgpack does not know is a definition,
# one of its steps or a retry policy: an array of its fields.
_pack: Final[Pack] = msgpack.Packer(
    default=astuple, use_bin_type=True, strict_types=False, autoreset=True
).pack
_TAGS: Final = {kind: kind.__struct_config__.tag for kind in e.EVENT_NAMES}
_LENGTHS: Final = {tag: len(kind.__struct_fields__) + 1 for kind, tag in _TAGS.items()}
_CREATED: Final = _TAGS[e.SagaCreated]


def encode_record(record: e.Record) -> bytes:
    """Encode, at most a few microseconds for an event without a large payload. Raises CodecError."""
    values = [(_TAGS[type(event)], *astuple(event)) for event in record.events]
    try:
        return _pack(
            (VERSION, record.saga_id, record.sequence, record.at_utc_s, record.previous, values)
        )
    except _UNWRITABLE as error:
        raise CodecError(f"saga {record.saga_id!r}: cannot be written: {error}") from error


def decode_record(data: bytes | memoryview) -> e.Record:
    """Decode the first value of `data`, which may be followed by others. Raises CodecError."""
    return _record_of(_first_value(data))


def decode_records(body: bytes | memoryview) -> list[tuple[int, e.Record]]:
    """Decode a frame's body: each record with its offset in the body. Raises CodecError."""
    unpacker = _unpacker(len(body))
    unpacker.feed(body)
    records, offset = [], 0
    try:
        for value in unpacker:
            if not _is_void(value):
                records.append((offset, _record_of(value)))
            offset = unpacker.tell()
    except (CodecError, *UNREADABLE) as error:
        raise CodecError(f"offset {offset} of the frame: {error}", offset) from error
    if offset != len(body):
        raise CodecError(f"offset {offset} of the frame: a record is cut short", offset)
    return records


class RecordGlance(NamedTuple):
    """Where a record stands in a frame's body and whose it says it is; None where it does not say it plainly."""

    offset: int
    end: int
    saga_id: str | None
    sequence: int | None
    events: int


def glance(body: bytes) -> list[RecordGlance]:
    """Look at the records of a body that nobody vouches for, up to the first one that is no msgpack."""
    unpacker = _unpacker(len(body))
    unpacker.feed(body)
    seen: list[RecordGlance] = []
    offset = 0
    try:
        for value in unpacker:
            end = unpacker.tell()
            if not _is_void(value):
                seen.append(_glance_at(value, offset, end))
            offset = end
    except UNREADABLE:
        pass
    return seen


def _glance_at(value: object, offset: int, end: int) -> RecordGlance:
    match value:
        case [int(), str(saga_id), int(sequence), _, _, list(events), *_]:
            return RecordGlance(offset, end, saga_id, sequence, len(events))
        case _:
            return RecordGlance(offset, end, None, None, 0)


def void_of(length: int) -> bytes:
    """What stands in the place of a record of this length that was taken out."""
    filler = b"\1" * (length - len(_VOID) - 4)
    return _VOID + len(filler).to_bytes(4, "big") + filler


def _is_void(value: object) -> bool:
    match value:
        case [int(version), bytes()]:
            return version == 0 and version is not False
        case _:
            return False


def _first_value(data: bytes | memoryview) -> object:
    try:
        return unpacker_of(data).unpack()
    except UNREADABLE as error:
        raise CodecError(f"not a record: {error}") from error


def unpacker_of(data: bytes | memoryview) -> msgpack.Unpacker:
    """What reads the values of `data` one by one."""
    unpacker = _unpacker(len(data))
    unpacker.feed(data)
    return unpacker


def _unpacker(size: int) -> msgpack.Unpacker:
    return msgpack.Unpacker(raw=False, strict_map_key=True, max_buffer_size=max(size, 1))


def _record_of(value: object) -> e.Record:
    version = value[0] if isinstance(value, list) and value else None
    if type(version) is not int or version < 1:
        raise CodecError("not a record: no version")
    if version > VERSION:
        raise CodecError(f"record version {version} is newer than {VERSION}: use a newer sagakeep")
    try:
        return _converted(_lifted(cast("list[Any]", value), version))
    except _MISFITS as error:
        raise CodecError(f"not a record of version {version}: {error}") from error


def _lifted(value: list[Any], version: int) -> list[Any]:
    for older in range(version, VERSION):
        value = UPCASTERS[older](value)
    return value


def _converted(value: list[Any]) -> e.Record:
    _, saga_id, sequence, at_utc_s, previous, values = value
    for event in values:
        _prepare_event(event)
    return msgspec.convert((saga_id, sequence, at_utc_s, previous, values), e.Record)


def _prepare_event(value: list[Any]) -> None:
    """Make of an event's array, in its place, what it can be converted from; msgspec skips what is too much."""
    tag = value[0]
    if len(value) > _LENGTHS[tag]:
        raise ValueError(f"event {tag} has {len(value) - 1} fields: use a newer sagakeep")
    if tag == _CREATED:
        value[1] = _definition_fields(value[1])


def _definition_fields(value: list[Any]) -> dict[str, Any]:
    """Name the fields of a definition's array, as its JSON does; there a value is looked at in any case."""
    fields = _named(_DEFINITION_FIELDS, value)
    steps = fields["steps"] = [_named(_STEP_FIELDS, step) for step in fields["steps"]]
    for step in steps:
        step["retry"] = _named(_RETRY_FIELDS, step["retry"])
    return fields


def _named(names: tuple[str, ...], values: list[Any]) -> dict[str, Any]:
    if len(values) > len(names):
        raise ValueError(f"{len(values)} fields where {len(names)} are known: use a newer sagakeep")
    return dict(zip(names, values, strict=False))


_DEFINITION_FIELDS: Final = SagaDefinition.__struct_encode_fields__
_STEP_FIELDS: Final = Step.__struct_encode_fields__
_RETRY_FIELDS: Final = RetryPolicy.__struct_encode_fields__


# States, as they stand in a snapshot and as a saga sleeps in memory


class StateGlance(NamedTuple):
    """What the bytes of a state tell without being decoded: whose it is, where the saga's last record stands, and
    until when the saga only waits (UTC seconds; 0: for an operator, None: it has something to do)."""

    saga_id: str
    last: tuple[int, int]
    wakes_at_utc_s: float | None


def state_packer() -> Pack:
    """What packs many states in one thread, its buffer reused: to make one costs more than to pack a state."""
    pack: Pack = msgpack.Packer(default=astuple).pack
    return pack


def encode_state(
    state: SagaState,
    last: tuple[int, int],
    wakes_at_utc_s: float | None = None,
    pack: Pack | None = None,
) -> bytes:
    """One live saga: its state, where its last record stands, and until when it waits. In any thread."""
    return (pack or state_packer())((STATE_VERSION, wakes_at_utc_s, last, state))


def decode_state(data: bytes) -> tuple[SagaState, tuple[int, int]]:
    """A saga's state, and where its last record stands. Raises CodecError."""
    return decode_sleeper(data)[:2]


def decode_sleeper(data: bytes) -> tuple[SagaState, tuple[int, int], float | None]:
    """The inverse of `encode_state`. Raises CodecError."""
    value: Any = _first_value(data)
    try:
        version, wakes_at_utc_s, last, fields = value
        if version != STATE_VERSION:
            raise CodecError(f"the state's version {version} is not {STATE_VERSION}")
        fields[1] = _definition_fields(fields[1])
        state = msgspec.convert(fields, SagaState)
        return state, msgspec.convert(last, tuple[int, int]), wakes_at_utc_s
    except _MISFITS as error:
        raise CodecError(f"not a state of version {STATE_VERSION}: {error}") from error


def glance_at_state(data: bytes) -> StateGlance:
    """Read the beginning of what `encode_state` made; a sixth of the work. Raises CodecError."""
    unpacker = _unpacker(len(data))
    unpacker.feed(data)
    try:
        unpacker.read_array_header()
        version, wakes_at_utc_s, last = unpacker.unpack(), unpacker.unpack(), unpacker.unpack()
        if version != STATE_VERSION:
            raise CodecError(f"the state's version {version} is not {STATE_VERSION}")
        unpacker.read_array_header()
        return msgspec.convert((unpacker.unpack(), last, wakes_at_utc_s), StateGlance)
    except (*_MISFITS, *UNREADABLE) as error:
        raise CodecError(f"not a state of version {STATE_VERSION}: {error}") from error


def encode_plain(value: object) -> bytes:
    """Encode JSON-like data, such as the counters of a snapshot. May be called in any thread."""
    packed: bytes = msgpack.packb(value)
    return packed


def decode_plain(data: bytes) -> object:
    """Decode JSON-like data. Raises CodecError."""
    return _first_value(data)


assert JSON_DEPTH_MAX * 4 < 512, "msgpack nests to 512 levels; a payload must fit with room"

# msgspec gets a type ready when it is first converted to, and crashes the process when two threads do that at
# once: recovery reads a snapshot beside the loop. So they are made ready here, by whoever imports this module.
for _kind in (SagaState, StateGlance, e.Record, *_TAGS):
    msgspec.msgpack.Decoder(_kind)
