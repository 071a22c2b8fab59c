"""Services in Python over the ledgers, for the child of a fork."""

from __future__ import annotations

from pathlib import Path

import trio

from blackbox.deeds import DeedLedger
from sagakeep.service import Call, ServiceRefused, ServiceUnavailable

SLOW_S = 0.005


class LedgerService:
    """`do` and `undo`: the work is in the ledger before the call returns."""

    def __init__(self, path: Path) -> None:
        self._ledger = DeedLedger(path, sync=False)

    async def do(self, call: Call) -> object:
        payload = call.payload
        assert isinstance(payload, dict)
        then = str(payload["then"])
        await trio.sleep(SLOW_S if then == "slow" else 0)
        outcome = self._ledger.call(
            saga=call.saga_id,
            step=call.step_id,
            phase=call.phase,
            key=call.idempotency_key,
            action_key=call.action_key,
            attempt=call.attempt,
            then=then,
        )
        match outcome:
            case "lost" | "vanished":
                raise ConnectionError(f"{outcome}: nobody hears of it")
            case "unavailable":
                raise ServiceUnavailable("busy")
            case "refused" | "barred":
                raise ServiceRefused(outcome)
            case _:
                return {"receipt": call.idempotency_key}

    async def undo(self, call: Call) -> object:
        return await self.do(call)
