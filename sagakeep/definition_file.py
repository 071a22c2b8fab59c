"""A definition in a file: read as a posted one is, and what is wrong with it told with line and column."""

from __future__ import annotations

from collections.abc import Collection

from sagakeep import limits
from sagakeep.definition import SagaDefinition
from sagakeep.errors import BrokenFile, InvalidDefinition, MalformedJson, PlacedFault
from sagakeep.json_place import Places
from sagakeep.json_text import parse_json
from sagakeep.validation import definition_of


class DefinitionFile:
    """A definition, and the text that it was read from."""

    def __init__(self, name: str, body: bytes, services: Collection[str] | None = None) -> None:
        """Read the definition; `services` are those it may name, None for any.

        Raises BrokenFile with all faults.
        """
        self.name = name
        if len(body) > limits.BODY_BYTES_MAX:
            detail = f"has {len(body)} bytes; a saga has at most {limits.BODY_BYTES_MAX}"
            raise BrokenFile(name, [PlacedFault("", detail, 0, 0)])
        try:
            document = parse_json(body)
            self.definition: SagaDefinition = definition_of(document, services)
        except MalformedJson as error:
            raise BrokenFile(name, [_placed(error, body)]) from None
        except InvalidDefinition as error:
            places = Places(body.decode())
            faults = [PlacedFault(*fault, *places.of(fault.pointer)) for fault in error.faults]
            raise BrokenFile(name, faults) from None
        self.places = Places(body.decode())


def _placed(error: MalformedJson, body: bytes) -> PlacedFault:
    line, column = error.line, error.column
    odd = None if line else Places(body.decode(errors="replace")).odd()
    if odd is not None:
        line, column = odd
    return PlacedFault("", error.detail, line, column)
