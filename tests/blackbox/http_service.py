"""A service over the ledger in a process of its own; each deed is synced before it is answered.

python -m blackbox.http_service LEDGER        prints its URL, then serves until it is killed
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import msgspec
import trio
from http_peer import Visit, open_peer

from blackbox.deeds import DeedLedger
from blackbox.services import SLOW_S

LATER_S = 2


class Payload(msgspec.Struct):
    then: str


async def serve_visit(ledger: DeedLedger, visit: Visit) -> None:
    """Answer one call after another on a connection."""
    gate = gate_of(ledger.path)
    while True:
        _, headers, body = await visit.request()
        then = msgspec.json.decode(body, type=Payload).then
        await trio.sleep(SLOW_S if then == "slow" else 0)
        key = headers["idempotency-key"]
        outcome = ledger.call(
            saga=headers["saga-id"],
            step=headers["saga-step"],
            phase=headers["saga-phase"],
            key=key,
            action_key=headers.get("saga-action-key", key),
            attempt=int(headers["saga-attempt"]),
            then=then,
        )
        while then == "held" and not gate.exists():  # noqa: ASYNC110 - another process makes it
            await trio.sleep(0.01)
        match outcome:
            case "lost" | "vanished":
                return  # closes the connection
            case "unavailable":
                wait_s = LATER_S if then == "later" else 0
                await visit.reply(503, b"", f"Retry-After: {wait_s}")
            case "refused" | "barred":
                await visit.reply(422, b'{"detail": "refused"}')
            case _:
                await visit.reply(200, b'{"receipt": "%s"}' % key.encode())


def gate_of(ledger: Path) -> Path:
    """The file that lets the held calls of a ledger's service go."""
    return ledger.with_name(f"{ledger.name}.gate")


async def main(path: Path) -> None:
    async with open_peer(partial(serve_visit, DeedLedger(path, sync=True))) as url:
        print(url, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
