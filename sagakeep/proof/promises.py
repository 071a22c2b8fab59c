"""What the services promise: the file of `sagakeep prove --services`, in TOML or JSON.

expect = ["completed", "compensated"]      ends that some world must reach; absent = completed
never = ["failed"]                         ends that no world may have

[services.payment]
idempotent = true                          the same Idempotency-Key is done once
barrier = true                             an action that comes after its undo is refused
probe = true                               it answers what became of an action
undoBy = "step"                            or "payload": an undo finds its object by what it is sent
refuses = ["charge"]                       actions that may be refused; absent = all that are not retriable
[services.payment.results]
charge = {chargeId = "ch_1"}               what an action answers; absent = made up
"""

from __future__ import annotations

import tomllib
from enum import StrEnum
from typing import Final

import msgspec

from sagakeep.conversion import read_struct
from sagakeep.errors import BrokenFile, InvalidDefinition, MalformedJson, PlacedFault
from sagakeep.faults import Faults, found
from sagakeep.json_place import Places
from sagakeep.json_text import parse_json
from sagakeep.pointer import child
from sagakeep.saga_status import SagaStatus
from sagakeep.simulation.ledger import Promise

ENDS: Final = (
    SagaStatus.COMPLETED,
    SagaStatus.COMPENSATED,
    SagaStatus.FAILED,
    SagaStatus.COMPENSATION_FAILED,
)


class UndoBy(StrEnum):
    """How a service finds what an undo is about."""

    STEP = "step"  # by the Saga-Action-Key, or the saga and the step
    PAYLOAD = "payload"


class ServicePromise(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"undo_by": "undoBy"}
):
    """What one service promises; the default is what every service should."""

    idempotent: bool = True
    barrier: bool = True
    probe: bool = True
    undo_by: UndoBy = UndoBy.STEP
    refuses: tuple[str, ...] | None = None
    results: dict[str, object] = msgspec.field(default_factory=dict)

    @property
    def kind(self) -> Promise:
        """The same in the words of the simulated ledger."""
        if not self.idempotent:
            return Promise.BLIND
        return Promise.BARRIER if self.barrier else Promise.ONCE


class Promises(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all services promise, and how the author expects the saga to end."""

    services: dict[str, ServicePromise] = msgspec.field(default_factory=dict)
    expect: tuple[SagaStatus, ...] = (SagaStatus.COMPLETED,)
    never: tuple[SagaStatus, ...] = ()

    def of(self, service: str) -> ServicePromise:
        """What a service promises."""
        return self.services.get(service, _DEFAULT)


_DEFAULT: Final = ServicePromise()


def read_promises(name: str, body: bytes, known: frozenset[str]) -> Promises:
    """Read the file; `known` are the services of the saga. Raises BrokenFile with all faults."""
    places = None
    try:
        if name.endswith(".toml"):
            document: object = _parse_toml(name, body)
        else:
            document = parse_json(body)
            places = Places(body.decode())
        faults = Faults()
        promises = _read(document, known, faults)
        faults.raise_any()
    except MalformedJson as error:
        raise BrokenFile(name, [PlacedFault("", error.detail, error.line, error.column)]) from None
    except InvalidDefinition as error:
        spots = [places.of(fault.pointer) if places else (0, 0) for fault in error.faults]
        placed = [
            PlacedFault(*fault, *spot) for fault, spot in zip(error.faults, spots, strict=True)
        ]
        raise BrokenFile(name, placed) from None
    return promises


def _parse_toml(name: str, body: bytes) -> object:
    try:
        return tomllib.loads(body.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFile(name, [PlacedFault("", f"is no TOML: {error}", 0, 0)]) from None


def _read(document: object, known: frozenset[str], faults: Faults) -> Promises:
    promises = read_struct(Promises, document, faults)
    for field in ("expect", "never"):
        check_ends(getattr(promises, field), f"/{field}", faults)
    for name, promise in promises.services.items():
        pointer = child("/services", name)
        if name not in known:
            faults.add(pointer, f"is no service of this saga{faults.hint(name, known)}")
        if not promise.idempotent and _says(document, name, "barrier", True):
            faults.add(
                f"{pointer}/barrier",
                "is true, but idempotent is false: what has a barrier knows its keys",
            )
    return promises


def check_ends(ends: tuple[str, ...], pointer: str, faults: Faults) -> None:
    """Refuse what is no end of a saga."""
    for at, end in enumerate(ends):
        if end not in ENDS:
            allowed = ", ".join(ENDS)
            faults.add(f"{pointer}/{at}", f"is {found(end)}; a saga ends as one of {allowed}")


def _says(document: object, service: str, field: str, value: bool) -> bool:
    match document:
        case {"services": {**services}}:
            told = services.get(service)
            return isinstance(told, dict) and told.get(field) is value
        case _:
            return False
