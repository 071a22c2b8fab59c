"""What a service may reply with: JSON that the journal can hold, whoever produced it.

Checked where it arrives, so that nothing unstorable reaches the writer beside other sagas' records:
no NaN, no infinity, no lone surrogate, no integer beyond 64 bits; nesting and bytes have a limit.
The checks run in C; only a suspicious value is walked.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

from sagakeep import limits
from sagakeep.errors import InvalidDefinition
from sagakeep.json_value import TOO_DEEP, faults_in, measure
from sagakeep.redaction import scrub

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_LONG_INTEGER: Final = re.compile(rb"[0-9]{19}")  # shorter ones have at most 60 bits


class ReplyBroken(Exception):
    """A reply that cannot be kept: what it answered is unknown. Its text says what is wrong."""


def parse_reply(data: bytes | bytearray) -> object:
    """Return the JSON value of a reply's body; raises ReplyBroken."""
    try:
        value: object = _decode(data)
    except (ValueError, RecursionError) as error:
        raise ReplyBroken(f"the reply is not JSON: {error}") from None
    _check(value, data)
    return value


def keep_reply(value: object) -> object:
    """Return a copy of a Python value as plain JSON values; raises ReplyBroken.

    What msgspec can encode is allowed: structs, dataclasses, tuples, dates and the like become what
    JSON has for them.
    """
    if value is None:
        return None
    try:
        data = _encode(value)
        copy: object = _decode(data)
        if copy != value and copy != _plain(msgspec.to_builtins(value, str_keys=True)):
            raise ReplyBroken("the reply holds a NaN or an infinity")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ReplyBroken(f"the reply is not JSON: {error}") from None
    _check(copy, data)
    return copy


def _plain(value: object) -> object:
    """Turn the tuples and sets that `to_builtins` leaves into lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value


def _check(value: object, data: bytes | bytearray) -> None:
    if len(data) > limits.REPLY_BYTES_MAX:
        raise ReplyBroken(f"the reply has more than {limits.REPLY_BYTES_MAX} bytes")
    brackets = data.count(b"[") + data.count(b"{")
    if brackets > limits.JSON_DEPTH_MAX and measure(value)[1] > limits.JSON_DEPTH_MAX:
        raise ReplyBroken(f"the reply {TOO_DEEP}")
    if _LONG_INTEGER.search(data) is not None:
        _check_integers(value)


def _check_integers(value: object) -> None:
    try:
        faults_in(value).raise_any()
    except InvalidDefinition as error:
        pointer, detail = error.faults[0]
        raise ReplyBroken(f"the reply's value at {pointer or '/'} {detail}") from None


def error_text(text: str, secrets: Collection[str] = ()) -> str:
    """Cut and clean a text for people: printable, one line, at most ERROR_CHARS_MAX, and no secret in it."""
    text = scrub(text, secrets)
    words = " ".join(text[: 4 * limits.ERROR_CHARS_MAX].split())
    clean = "".join(character if character.isprintable() else "?" for character in words)
    if len(clean) <= limits.ERROR_CHARS_MAX:
        return clean
    return clean[: limits.ERROR_CHARS_MAX - 1] + "…"
