"""Three services for a first saga, with real ledgers: inventory, payment and shipping.

    inventory   reserve / release      productId, quantity
    payment     charge / refund        amount, currency
    shipping    ship / cancel          address
    each        fail                   always refuses
                flaky                  {"times": n}: unavailable n times, then done
                wait                   {"seconds": s}: done after s, any number at once
                status                 a probe: whether the action happened

Every action can be undone by any name here, and every name can be a compensation. What makes that safe is
in `sagakeep.demo.barrier`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar, Final

import trio

from sagakeep import limits
from sagakeep.demo.barrier import Deed, Result
from sagakeep.demo.ledger import Ledger
from sagakeep.faults import found
from sagakeep.service import Call, ServiceRefused

TIMES_MAX: Final = 1_000
QUANTITY_MAX: Final = 1_000_000
AMOUNT_MAX: Final = 1e12

_NO_WORDS: Final[Mapping[str, object]] = {}


class DemoService:
    """What the three have in common: the actions that fail, fail at first, and take long."""

    max_concurrency: ClassVar[int] = limits.LIVE_SAGAS_MAX  # those that wait cost nothing
    id_name: ClassVar[str]
    id_prefix: ClassVar[str]
    undone_as: ClassVar[str]

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def fail(self, call: Call) -> object:
        return await self._enter(call, refusal=f"{call.service}.fail always refuses")

    async def flaky(self, call: Call) -> object:
        order = _Order(call)
        times = order.whole("times", 0, TIMES_MAX, default=1)
        return await self._enter(call, refusal=order.refusal, times_unavailable=times)

    async def wait(self, call: Call) -> object:
        order = _Order(call)
        seconds = order.number("seconds", limits.TIMEOUT_S_MAX, default=1.0)
        if not order.refusal:
            await trio.sleep(seconds)
        return await self._enter(call, refusal=order.refusal)

    async def status(self, call: Call) -> object:
        if call.phase != "probe":
            raise ServiceRefused("status answers probes only")
        return await self._ledger.probe(call)

    async def aclose(self) -> None:
        await self._ledger.aclose()

    async def _enter(
        self,
        call: Call,
        words: Mapping[str, object] = _NO_WORDS,
        *,
        refusal: str = "",
        times_unavailable: int = 0,
    ) -> object:
        digest = hashlib.sha256(call.idempotency_key.encode()).hexdigest()[:16]
        result: Result = {self.id_name: f"{self.id_prefix}_{digest}", **words}
        deed = Deed(result, self.undone_as, refusal, times_unavailable)
        return await self._ledger.enter(call, deed)


class Inventory(DemoService):
    """Keeps goods for an order."""

    id_name = "reservationId"
    id_prefix = "res"
    undone_as = "released"

    async def reserve(self, call: Call) -> object:
        order = _Order(call)
        words = {
            "productId": order.text("productId"),
            "quantity": order.whole("quantity", 1, QUANTITY_MAX, default=1),
        }
        return await self._enter(call, words, refusal=order.refusal)

    async def release(self, call: Call) -> object:
        return await self._enter(call)

    reserve_status = DemoService.status


class Payment(DemoService):
    """Takes money."""

    id_name = "chargeId"
    id_prefix = "ch"
    undone_as = "refunded"

    async def charge(self, call: Call) -> object:
        order = _Order(call)
        amount = order.number("amount", AMOUNT_MAX, default=0.0)
        words = {"amount": amount, "currency": order.text("currency")}
        return await self._enter(call, words, refusal=order.refusal)

    async def refund(self, call: Call) -> object:
        return await self._enter(call)

    charge_status = DemoService.status


class Shipping(DemoService):
    """Sends goods."""

    id_name = "trackingNumber"
    id_prefix = "trk"
    undone_as = "cancelled"

    async def ship(self, call: Call) -> object:
        order = _Order(call)
        return await self._enter(
            call, {"address": order.words.get("address")}, refusal=order.refusal
        )

    async def cancel(self, call: Call) -> object:
        return await self._enter(call)

    ship_status = DemoService.status


def demo_services(directory: str) -> dict[str, DemoService]:
    """Make the three services on the ledger of a directory, which must exist when they are called."""
    ledger = Ledger(directory)
    return {
        "inventory": Inventory(ledger),
        "payment": Payment(ledger),
        "shipping": Shipping(ledger),
    }


class _Order:
    """A payload, read leniently: what is absent has a default, what is wrong is the `refusal`."""

    def __init__(self, call: Call) -> None:
        self.refusal = ""
        self.words: Result = {}
        if isinstance(call.payload, dict):
            self.words = call.payload
        else:
            self._refuse(f"the payload is {found(call.payload)}; expected an object")

    def text(self, name: str) -> str | None:
        value = self.words.get(name)
        if isinstance(value, str | None):
            return value
        self._refuse(f"{name} is {found(value)}; expected a string")
        return None

    def whole(self, name: str, least: int, most: int, *, default: int) -> int:
        value = self.words.get(name, default)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self._refuse(f"{name} is {found(value)}; expected a whole number, {least} to {most}")
        return default

    def number(self, name: str, most: float, *, default: float) -> float:
        value = self.words.get(name, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most:
            return value
        self._refuse(f"{name} is {found(value)}; expected a number, 0 to {most:.0f}")
        return default

    def _refuse(self, refusal: str) -> None:
        self.refusal = self.refusal or refusal
