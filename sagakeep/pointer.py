"""JSON Pointer (RFC 6901): the address of a value in a document."""

from __future__ import annotations

import re
from typing import Final

from sagakeep import limits

TOKEN_CHARS_MAX: Final = limits.TAG_CHARS_MAX  # of one key in a fault's pointer; the rest is cut
_POINTER: Final = re.compile(r"(?:/(?:[^/~]|~[01])*)*")


def tokens_of(pointer: str) -> tuple[str, ...] | None:
    """Return the keys on the way to the value, unescaped; None when it is no JSON Pointer."""
    if not _POINTER.fullmatch(pointer):
        return None
    return tuple([token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]])


def child(pointer: str, key: object) -> str:
    """Return the pointer to the member `key`; a very long key is cut, so that a fault is short."""
    token = str(key)
    if len(token) > TOKEN_CHARS_MAX:
        token = token[:TOKEN_CHARS_MAX] + "…"
    return f"{pointer}/{token.replace('~', '~0').replace('/', '~1')}"
