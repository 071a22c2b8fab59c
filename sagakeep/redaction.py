"""Redaction: a value that is never shown nor logged is replaced before anyone sees it.

In a document it is replaced where it stands (`redact`). A text has no such places: what a service says of
its error may repeat it anywhere, so every occurrence is replaced (`scrub`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Final

from sagakeep.pointer import tokens_of

REDACTED: Final = "[redacted]"
SECRET_CHARS_MIN: Final = 3  # a shorter value is in every text, and a guess anyway


def redact(value: object, pointers: tuple[str, ...]) -> object:
    """Return `value` with what is at each JSON Pointer replaced; what is not there is no matter.

    `value` itself is not changed: what lies on the way to a pointer is copied, the rest is shared.
    """
    for pointer in pointers:
        tokens = tokens_of(pointer)
        if tokens is not None:
            value = _replaced(value, tokens)
    return value


def secrets_of(documents: Collection[object], pointers: Collection[str]) -> tuple[str, ...]:
    """Return the texts and numbers at, and below, the pointers, as a text may have them; longest first."""
    found: set[str] = set()
    for tokens in map(tokens_of, pointers):
        for document in documents:
            for text in _texts(None if tokens is None else _value_at(document, tokens)):
                found |= _spellings(text)
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def scrub(text: str, secrets: Collection[str]) -> str:
    """Return the text with every occurrence of a secret replaced."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return text


def _value_at(value: object, tokens: tuple[str, ...]) -> object:
    """Return what is there, None when nothing is."""
    for token in tokens:
        if isinstance(value, dict):
            value = value.get(token)
        elif isinstance(value, list | tuple) and _is_index(token, len(value)):
            value = value[int(token)]
        else:
            return None
    return value


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for member in value.values():
                yield from _texts(member)
        case list() | tuple():
            for item in value:
                yield from _texts(item)
        case None | bool():
            pass
        case _:
            yield str(value)


def _spellings(text: str) -> set[str]:
    """Return a secret as it is, as JSON has it, and as Python shows it."""
    if len(text) < SECRET_CHARS_MIN:
        return set()
    encoded = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return {text, repr(text)[1:-1], *encoded}


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
