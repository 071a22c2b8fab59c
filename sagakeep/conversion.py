"""Conversion of a document to one of our struct types, slowly and with every fault.

`msgspec.convert` stops at the first fault. This walks the same types, converts what has no parts with
`msgspec.convert` itself (strict: a boolean is no number, a numeric string neither), and puts a
placeholder where something could not be read, so that the rest can be checked further.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from sagakeep.faults import Faults, found
from sagakeep.pointer import child

_Kind = TypeVar("_Kind", bound=msgspec.Struct)

_NOUNS: Final[dict[object, str]] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
    dict: "an object",
    tuple: "an array",
}


class _Unreadable:
    """Stands for a value that could not be read; its fault is noted."""


_UNREADABLE: Final = _Unreadable()


def read_struct(kind: type[_Kind], document: object, faults: Faults, pointer: str = "") -> _Kind:
    """Convert an object to a struct. Where there are faults the result is fit for checks only."""
    members: dict[object, object] = {}
    if isinstance(document, dict):
        members = document
    else:
        faults.add_unreadable(pointer, f"is {found(document)}; expected an object")
    known = _fields(kind)
    for name in members:
        if name not in known:
            hint = faults.hint(str(name), known)
            faults.add_unreadable(child(pointer, name), f"is an unknown field{hint}")
    arguments = {
        field.name: _read_field(field, members, faults, f"{pointer}/{name}")
        for name, field in known.items()
        if name in members or field.required
    }
    return kind(**{name: one for name, one in arguments.items() if one is not _UNREADABLE})


def _read_field(
    field: FieldInfo, members: dict[object, object], faults: Faults, pointer: str
) -> object:
    value: object = _UNREADABLE
    if field.encode_name in members:
        value = _read(field.type, members[field.encode_name], faults, pointer)
    else:
        faults.add_unreadable(pointer, f"is missing; expected {_noun(field.type)}")
    if value is _UNREADABLE and field.required:
        return _placeholder(field.type)
    return value


def _read(kind: Any, value: object, faults: Faults, pointer: str) -> object:  # Any: a type form
    kind = _without_metadata(kind)
    origin, parts = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list | tuple):
        return _read_items(parts[0], value, faults, pointer)
    if origin is dict and isinstance(value, dict):
        return _read_members(parts[1], value, faults, pointer)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return read_struct(kind, value, faults, pointer)
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        hint = ""
        if isinstance(value, str) and isinstance(kind, type) and issubclass(kind, StrEnum):
            hint = faults.hint(value, list(kind))
        faults.add_unreadable(pointer, f"is {found(value)}; expected {_noun(kind)}{hint}")
        return _UNREADABLE


def _read_items(
    kind: object, items: list[object] | tuple[object, ...], faults: Faults, pointer: str
) -> tuple[object, ...]:
    """Convert each item; one that cannot be read leaves a placeholder, so that no index shifts."""
    read = [_read(kind, item, faults, f"{pointer}/{at}") for at, item in enumerate(items)]
    return tuple([_placeholder(kind) if one is _UNREADABLE else one for one in read])


def _read_members(
    kind: object, members: dict[object, object], faults: Faults, pointer: str
) -> dict[str, object]:
    read = {
        str(name): _read(kind, value, faults, child(pointer, name))
        for name, value in members.items()
    }
    return {name: one for name, one in read.items() if one is not _UNREADABLE}


@cache  # one entry for each struct type
def _fields(kind: type[msgspec.Struct]) -> dict[str, FieldInfo]:
    return {field.encode_name: field for field in fields(kind)}


def _without_metadata(kind: Any) -> Any:  # a type form, which has no type of its own
    return kind.__origin__ if hasattr(kind, "__metadata__") else kind


def _placeholder(kind: object) -> object:
    kind = _without_metadata(kind)
    return () if get_origin(kind) is tuple else ""


def _noun(kind: object) -> str:
    """Name a type for a person, as in "expected a number or null"."""
    kind = _without_metadata(kind)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_noun(part) for part in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "one of " + ", ".join(kind)
    return _NOUNS.get(get_origin(kind) or kind, "an object")
