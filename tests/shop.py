"""Services for sagas of tests: every action is done at once, but for those with a name that says otherwise."""

from __future__ import annotations

import trio

from sagakeep.service import Call, ServiceRefused, ServiceUnavailable


class Shop:
    """Knows `do` and `undo`, and `fail` (refuses), `flaky` (unavailable at first) and `wait` (never ends)."""

    def __init__(self) -> None:
        self.attempts: dict[str, int] = {}

    async def do(self, call: Call) -> object:
        return {"action": call.action, "payload": call.payload}

    async def undo(self, call: Call) -> object:
        return {"undone": call.result}

    async def fail(self, call: Call) -> object:
        raise ServiceRefused("declined")

    async def flaky(self, call: Call) -> object:
        self.attempts[call.idempotency_key] = self.attempts.get(call.idempotency_key, 0) + 1
        if self.attempts[call.idempotency_key] == 1:
            raise ServiceUnavailable("busy")
        return {"attempts": self.attempts[call.idempotency_key]}

    async def wait(self, call: Call) -> object:
        await trio.sleep_forever()


def step(step_id: str, action: str = "do", **more: object) -> dict[str, object]:
    return {"id": step_id, "service": "shop", "action": action, "compensation": "undo", **more}


def saga(*steps: dict[str, object], **more: object) -> dict[str, object]:
    return {"name": "order", "steps": list(steps or (step("a"), step("b"))), **more}
