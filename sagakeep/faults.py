"""Faults: everything that is wrong with one document, collected so that it can be told at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Final, NoReturn

from sagakeep.errors import Fault, InvalidDefinition

FAULTS_MAX: Final = 1_000  # listed for one document: nobody reads more
HINTS_MAX: Final = 50  # in one document: finding the nearest name is slow
NAMES_SHOWN_MAX: Final = 10  # in a detail that lists what is allowed
FOUND_CHARS_MAX: Final = 60  # of a value that is quoted in a detail
_HINT_CHARS_MAX: Final = 128


class Faults:
    """Collects faults, the first at each pointer; raises by itself when there are too many."""

    def __init__(self) -> None:
        self._by_pointer: dict[str, Fault] = {}
        self._unreadable: set[str] = set()
        self._hints = 0

    def __bool__(self) -> bool:
        return bool(self._by_pointer)

    def add(self, pointer: str, detail: str) -> None:
        """Note a fault, unless one is known at this pointer or nothing there could be read."""
        if pointer in self._by_pointer or self._is_unreadable(pointer):
            return
        self._by_pointer[pointer] = Fault(pointer, detail)
        if len(self._by_pointer) >= FAULTS_MAX:
            self.raise_all()

    def add_unreadable(self, pointer: str, detail: str) -> None:
        """Note that what is here is not even of the right type: nothing below it is reported."""
        self.add(pointer, detail)
        self._unreadable.add(pointer)

    def hint(self, name: str, known: Iterable[str]) -> str:
        """Return `; did you mean "x"?`, or else the known names; `""` when there are none."""
        names = sorted(known)
        self._hints += 1
        if self._hints <= HINTS_MAX and len(name) <= _HINT_CHARS_MAX:
            nearest = difflib.get_close_matches(name, names, n=1)
            if nearest:
                return f'; did you mean "{nearest[0]}"?'
        more = ", ..." if len(names) > NAMES_SHOWN_MAX else ""
        return f"; known: {', '.join(names[:NAMES_SHOWN_MAX])}{more}" if names else ""

    def first(self) -> Fault:
        """Return the fault that was noted first; there must be one."""
        return next(iter(self._by_pointer.values()))

    def raise_any(self) -> None:
        if self._by_pointer:
            self.raise_all()

    def raise_all(self) -> NoReturn:
        raise InvalidDefinition(list(self._by_pointer.values()))

    def _is_unreadable(self, pointer: str) -> bool:
        while pointer and self._unreadable:
            pointer = pointer.rpartition("/")[0]
            if pointer in self._unreadable:
                return True
        return False


def found(value: object) -> str:
    """Describe a JSON value for a person, shortly."""
    match value:
        case None | bool():
            return json.dumps(value)
        case str():
            return f'the string "{_cut(value)}"'
        case int() | float():
            return f"the number {_cut(_digits(value))}"
        case list() | tuple():
            return "an array"
        case dict():
            return "an object"
        case _:
            return f"a value of the type {type(value).__name__}"


def _digits(value: float) -> str:
    """Write a number; one of thousands of digits would be slow (or refused) to write in decimal."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"of {value.bit_length()} bits"
    return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= FOUND_CHARS_MAX else text[:FOUND_CHARS_MAX] + "…"
