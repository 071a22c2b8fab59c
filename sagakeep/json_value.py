"""JSON values in Python: null, booleans, 64-bit numbers, strings, lists and dicts of them.

What is within these bounds can be stored in the journal and sent to a service. Bytes are held to
them by `sagakeep.json_text`; what comes from elsewhere (a Python caller, the result of a JMESPath
expression) must pass `faults_in`.
"""

from __future__ import annotations

import math
import re
from typing import Final

from sagakeep import limits
from sagakeep.faults import Faults, found
from sagakeep.pointer import child

INTEGER_MIN: Final = -(1 << 63)  # what msgpack, and with it the journal, can hold
INTEGER_MAX: Final = (1 << 64) - 1

TOO_DEEP: Final = f"is nested deeper than {limits.JSON_DEPTH_MAX} levels"
_NOT_FINITE: Final = "is a number beyond the range of a 64-bit float, or none"
_TOO_LONG: Final = f"is an integer beyond 64 bits ({INTEGER_MIN} to {INTEGER_MAX})"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def faults_in(value: object) -> Faults:
    """Find, in document order, everything in a value that is no JSON value within the bounds."""
    faults = Faults()
    todo: list[tuple[str, int, object]] = [("", 0, value)]
    while todo:
        pointer, depth, one = todo.pop()
        if not isinstance(one, dict | list | tuple):
            detail = _fault_of_leaf(one)
            if detail:
                faults.add(pointer, detail)
        elif depth >= limits.JSON_DEPTH_MAX:
            faults.add(pointer, TOO_DEEP)
        else:
            members = _members(one, pointer, faults)
            todo.extend([(at, depth + 1, member) for at, member in reversed(members)])
    return faults


def measure(value: object) -> tuple[int, int]:
    """Return how many keys a value has in all, and its depth: one level for an array or object."""
    keys = depth = 0
    level = [value]
    while level:
        below: list[object] = []
        nested = False
        for one in level:
            if type(one) is dict:
                keys += len(one)
                below += one.values()
                nested = True
            elif type(one) is list:
                below += one
                nested = True
        depth += nested
        level = below
    return keys, depth


def _members(
    container: dict[object, object] | list[object] | tuple[object, ...],
    pointer: str,
    faults: Faults,
) -> list[tuple[str, object]]:
    if not isinstance(container, dict):
        return [(f"{pointer}/{at}", one) for at, one in enumerate(container)]
    for key in container:
        if not isinstance(key, str) or _SURROGATE.search(key):
            faults.add(pointer, f"has a key that is no text: {found(key)!a}")
    return [(child(pointer, key), one) for key, one in container.items() if isinstance(key, str)]


def _fault_of_leaf(value: object) -> str:
    match value:
        case None | bool():
            return ""
        case str():
            return "has a lone surrogate, which is no character" if _SURROGATE.search(value) else ""
        case float():
            return "" if math.isfinite(value) else _NOT_FINITE
        case int():
            return "" if INTEGER_MIN <= value <= INTEGER_MAX else _TOO_LONG
        case _:
            return f"is no JSON value but {found(value)}"
