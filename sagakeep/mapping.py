"""Mapping: how the payload of one step takes what earlier steps have answered.

An object that is exactly `{"$from": "JMESPath"}`, anywhere in a payload, stands for the value of that
expression over `{"saga": {...}, "steps": {ID: {"result", "outcome"}}}`. References are compiled when
a saga is created and filled in when a call is first made.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, Protocol

import jmespath
import msgspec
from jmespath.exceptions import JMESPathTypeError
from jmespath.functions import Functions, signature
from jmespath.visitor import Options

from sagakeep import limits
from sagakeep.errors import SagakeepError
from sagakeep.expression import Reading, reading_of
from sagakeep.json_value import faults_in
from sagakeep.pointer import child

FROM: Final = "$from"
EXPRESSION_CHARS_MAX: Final = 1_024  # a longer mapping belongs into a service
EXPRESSIONS_MAX: Final = 1_024  # compiled ones that are kept

# What jmespath raises on data that an expression does not fit: its own errors are ValueErrors.
_EVALUATION_ERRORS: Final = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)


class MappingError(SagakeepError):
    """A reference cannot be compiled or evaluated; the text says which and why. Mend the definition."""


class Parsed(Protocol):
    """What `jmespath.compile` returns."""

    parsed: object

    def search(self, value: object, options: Options | None = None) -> object: ...


class Reference(msgspec.Struct, frozen=True, eq=False):
    """A compiled expression, and what it can be seen to read."""

    expression: str
    parsed: Parsed
    reading: Reading


@lru_cache(maxsize=EXPRESSIONS_MAX)
def compile_reference(expression: str) -> Reference:
    """Compile a JMESPath expression. Raises MappingError when it is none, or too long."""
    if len(expression) > EXPRESSION_CHARS_MAX:
        raise MappingError(
            f"the expression has {len(expression)} characters; at most {EXPRESSION_CHARS_MAX}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # `x` for '"x"' in backticks is on its way out
            parsed: Parsed = jmespath.compile(expression)
        return Reference(expression, parsed, reading_of(parsed.parsed))
    except (ValueError, LookupError, TypeError, Warning) as error:
        raise MappingError(f'"{expression}" is no JMESPath: {_first_line(error)}') from None
    except RecursionError:
        raise MappingError(f'"{expression[:60]}..." is nested too deep') from None


def has_references(payload: object) -> bool:
    """Tell whether there is any reference to fill in."""
    if type(payload) is not dict and type(payload) is not list:
        return False
    todo: list[object] = [payload]
    while todo:
        value = todo.pop()
        if type(value) is dict:
            if FROM in value:
                return True
            todo += value.values()
        elif type(value) is list:
            todo += value
    return False


def references_in(payload: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every object that has a `$from`, with its JSON Pointer, in document order."""
    todo: list[tuple[str, object]] = [("", payload)]
    while todo:
        pointer, value = todo.pop()
        if isinstance(value, dict):
            if FROM in value:
                yield pointer, value
            else:
                todo += [(child(pointer, key), one) for key, one in value.items()][::-1]
        elif isinstance(value, list | tuple):
            todo += [(f"{pointer}/{at}", one) for at, one in enumerate(value)][::-1]


def fill(payload: object, context: Mapping[str, object]) -> object:
    """Return the payload with every reference replaced by its value; the payload is not changed.

    `context` is `{"saga": {...}, "steps": {ID: {"result", "outcome"}}}`. Raises MappingError when an
    expression cannot be evaluated, or when the whole is no JSON or longer than PAYLOAD_BYTES_MAX.
    """
    if not has_references(payload):
        return payload
    filled = _filled(payload, dict(context))
    _refuse_unfit(filled)
    return filled


def _filled(value: object, context: dict[str, object]) -> object:
    if isinstance(value, dict):
        if FROM in value:
            return _evaluated(str(value[FROM]), context)
        return {key: _filled(one, context) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(one, context) for one in value]
    return value


def _evaluated(expression: str, context: dict[str, object]) -> object:
    reference = compile_reference(expression)
    try:
        value = reference.parsed.search(context, _OPTIONS)
        _refuse_unfit(value)
    except MappingError as error:
        raise MappingError(f'"{expression}": {error}') from None
    except JMESPathTypeError as error:  # without the value, which may be sensitive
        wanted, found = error.expected_types, error.actual_type
        detail = (
            f'In function {error.function_name}(), expected one of: {wanted}, received: "{found}"'
        )
        raise MappingError(f'"{expression}": {detail}') from None
    except _EVALUATION_ERRORS as error:
        raise MappingError(f'"{expression}": {_first_line(error)}') from None
    return value


def _refuse_unfit(value: object) -> None:
    """Refuse what is too long or no JSON, in time bounded by the limit whatever the value."""
    if _size_at_least(value) > limits.PAYLOAD_BYTES_MAX:
        raise MappingError(_TOO_LARGE)
    faults = faults_in(value)
    if faults:
        worst = faults.first()
        raise MappingError(f"its value at {worst.pointer!r} {worst.detail}")
    if len(msgspec.json.encode(value)) > limits.PAYLOAD_BYTES_MAX:
        raise MappingError(_TOO_LARGE)


_TOO_LARGE: Final = f"the payload has more than {limits.PAYLOAD_BYTES_MAX} bytes"


def _size_at_least(value: object) -> int:
    """Return a lower bound of a value's bytes as JSON; stops counting beyond PAYLOAD_BYTES_MAX."""
    size = 0
    todo: list[object] = [value]
    while todo and size <= limits.PAYLOAD_BYTES_MAX:
        one = todo.pop()
        size += 1
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, dict):
            size += sum(map(len, one))
            todo += one.values()
        elif isinstance(one, list | tuple):
            todo += one
    return size


def _first_line(error: BaseException) -> str:
    """Return what jmespath says without the drawing below it."""
    lines = str(error).splitlines()
    return lines[0].removesuffix(", for expression:").removesuffix(":") if lines else repr(error)


class _BoundedFunctions(Functions):  # type: ignore[misc]  # jmespath has no types for it
    """JMESPath's functions, but a `join` that looks at the length before it makes the text."""

    @signature({"types": ["string"]}, {"types": ["array-string"]})  # type: ignore[untyped-decorator]  # as above
    def _func_join(self, separator: str, array: list[str]) -> str:
        if len(separator) * len(array) + sum(map(len, array)) > limits.PAYLOAD_BYTES_MAX:
            raise MappingError(_TOO_LARGE)
        return separator.join(array)


_OPTIONS: Final = Options(custom_functions=_BoundedFunctions())
