"""Redaction: a value that is never shown nor logged is replaced before anyone sees it."""

from __future__ import annotations

from typing import Final

from sagakeep.pointer import tokens_of

REDACTED: Final = "[redacted]"


def redact(value: object, pointers: tuple[str, ...]) -> object:
    """Return `value` with what is at each JSON Pointer replaced; what is not there is no matter.

    `value` itself is not changed: what lies on the way to a pointer is copied, the rest is shared.
    """
    for pointer in pointers:
        tokens = tokens_of(pointer)
        if tokens is not None:
            value = _replaced(value, tokens)
    return value


def _replaced(value: object, tokens: tuple[str, ...]) -> object:
    if not tokens:
        return REDACTED
    token, rest = tokens[0], tokens[1:]
    if isinstance(value, dict) and token in value:
        return {**value, token: _replaced(value[token], rest)}
    if isinstance(value, list | tuple) and _is_index(token, len(value)):
        at = int(token)
        return [*value[:at], _replaced(value[at], rest), *value[at + 1 :]]
    return value


def _is_index(token: str, length: int) -> bool:
    if not (token.isascii() and token.isdigit()) or (token[0] == "0" and token != "0"):
        return False
    return len(token) <= len(str(length)) and int(token) < length
