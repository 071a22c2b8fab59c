"""Where the values of a JSON text are: a JSON Pointer becomes a line and a column, for people and editors.

The text was read before, so that only its places are of interest: it is walked once, value by value,
and whatever does not look as it should ends the walk where it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from sagakeep import limits
from sagakeep.pointer import child

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_SCALARS: Final = json.JSONDecoder(parse_int=float)  # float, for it takes any number of digits
_CONSTANTS: Final = ("NaN", "Infinity", "-Infinity")


class Place(NamedTuple):
    """A place in a text; both count from 1."""

    line: int
    column: int


class _Value(NamedTuple):
    pointer: str
    at: int
    is_odd: bool  # the second value of a key, or no JSON at all


class Places:
    """The places of a text's values."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._offsets: dict[str, int] = {}
        self._odd: int | None = None
        for value in _walk(text):
            self._offsets.setdefault(value.pointer, value.at)
            if value.is_odd and self._odd is None:
                self._odd = value.at

    def of(self, pointer: str) -> Place:
        """Where the value is, or else the nearest that it should be in."""
        while pointer and pointer not in self._offsets:
            pointer = pointer.rpartition("/")[0]
        return self._place(self._offsets.get(pointer, 0))

    def odd(self) -> Place | None:
        """Where a key is for the second time, or a number is none."""
        return None if self._odd is None else self._place(self._odd)

    def _place(self, at: int) -> Place:
        line = self._text.count("\n", 0, at) + 1
        return Place(line, at - self._text.rfind("\n", 0, at))


class _Open:
    """An array or object that the walk is in."""

    def __init__(self, pointer: str, is_object: bool) -> None:
        self.pointer = pointer
        self.is_object = is_object
        self.keys: set[str] = set()
        self.count = 0


def _walk(text: str) -> Iterator[_Value]:
    """Yield every value in the order of the text; end where the text is no JSON, or nested too deep."""
    stack: list[_Open] = []
    at, pointer, is_odd = _skip(text, 0), "", False
    while at < len(text) and len(stack) <= limits.JSON_DEPTH_MAX:
        yield _Value(pointer, at, is_odd or text.startswith(_CONSTANTS, at))
        if text[at] in "{[":
            stack.append(_Open(pointer, text[at] == "{"))
            at = _skip(text, at + 1)
        else:
            at = _skip(text, _end_of_scalar(text, at))
        while stack and text[at : at + 1] in ("}", "]"):
            stack.pop()
            at = _skip(text, at + 1)
        if not stack:
            return
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        try:
            at, pointer, is_odd = _enter(text, at, stack[-1])
        except (ValueError, IndexError):
            return


def _enter(text: str, at: int, inside: _Open) -> tuple[int, str, bool]:
    """Step to the next member's value: where it is, its pointer, and whether its key was there before."""
    inside.count += 1
    if not inside.is_object:
        return at, f"{inside.pointer}/{inside.count - 1}", False
    if text[at] != '"':
        raise ValueError(at)
    key, end = _SCALARS.raw_decode(text, at)
    end = _skip(text, end)
    if text[end] != ":":
        raise ValueError(end)
    is_odd = key in inside.keys
    inside.keys.add(key)
    return _skip(text, end + 1), child(inside.pointer, key), is_odd


def _end_of_scalar(text: str, at: int) -> int:
    try:
        return int(_SCALARS.raw_decode(text, at)[1])
    except ValueError:
        return len(text)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
