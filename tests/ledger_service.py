"""A service in a process of its own, with a ledger: each call is on the disk before it is answered.

    python tests/ledger_service.py LEDGER        prints its URL, then serves until it is killed

What a call comes to is in its payload, `{"then": ...}`, whatever its action is called:

    "done"      the work is done, and done once: a second call under the key gets the same answer
    "flaky"     unavailable at the first call under a key, then done
    "lost"      done, but the connection closes instead of the first answer
    "vanished"  nothing is done, and the connection closes instead of every answer
    "refused"   never done
    "held"      done, and not answered while there is no file LEDGER.gate
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
import trio
from http_peer import Visit, open_peer


class Entry(msgspec.Struct, frozen=True):
    """One call, as the service saw it."""

    saga: str
    step: str
    phase: str  # "action" or "compensation"
    key: str
    attempt: int
    outcome: str  # done, again (it was done before), unavailable, lost, vanished, refused
    at_ns: int  # on the clock that all processes share

    @property
    def is_effect(self) -> bool:
        """Did this call do the work, or may its caller not know that it did not?"""
        return self.outcome in ("done", "again", "lost", "vanished")

    @property
    def is_sure(self) -> bool:
        """Was the caller told that the work is done?"""
        return self.outcome in ("done", "again")


class Ledger:
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._gate = gate_of(Path(path))
        self._visited: set[str] = set()
        self._done: set[str] = set()

    def decide(self, key: str, then: str) -> str:
        """Do the work, or do not; returns the outcome."""
        is_first = key not in self._visited
        self._visited.add(key)
        if then in ("refused", "vanished"):
            return then
        if key in self._done:
            return "again"
        if then == "flaky" and is_first:
            return "unavailable"
        self._done.add(key)
        return "lost" if then == "lost" else "done"

    async def wait_gate(self) -> None:
        while not self._gate.exists():  # noqa: ASYNC110 - another process makes the file
            await trio.sleep(0.01)

    def write(self, entry: Entry) -> None:
        """Add an entry; durable when it returns. The loop waits: the service has nothing else to do."""
        os.write(self._file, msgspec.json.encode(entry) + b"\n")
        os.fdatasync(self._file)


async def serve_visit(ledger: Ledger, visit: Visit) -> None:
    """Answer one call after another on a connection."""
    while True:
        _, headers, body = await visit.request()
        key = headers["idempotency-key"]
        then = msgspec.json.decode(body)["then"]
        outcome = ledger.decide(key, then)
        entry = Entry(
            saga=headers["saga-id"],
            step=headers["saga-step"],
            phase=headers["saga-phase"],
            key=key,
            attempt=int(headers["saga-attempt"]),
            outcome=outcome,
            at_ns=time.monotonic_ns(),
        )
        ledger.write(entry)
        if then == "held":
            await ledger.wait_gate()
        match outcome:
            case "lost" | "vanished":
                return  # closes the connection
            case "unavailable":
                await visit.reply(503, b"", "Retry-After: 0")
            case "refused":
                await visit.reply(422, b'{"detail": "refused"}')
            case _:
                await visit.reply(200, b'{"receipt": "%s"}' % key.encode())


def gate_of(ledger: Path) -> Path:
    """The file that lets the held calls of a ledger's service go."""
    return ledger.with_name(f"{ledger.name}.gate")


def read_entries(paths: Iterable[Path]) -> list[Entry]:
    """Read ledgers, which may be in use, as one; in the order of time."""
    lines = [line for path in paths for line in path.read_bytes().split(b"\n")[:-1]]
    entries = [msgspec.json.decode(line, type=Entry) for line in lines]
    return sorted(entries, key=lambda entry: entry.at_ns)


async def main(path: str) -> None:
    async with open_peer(partial(serve_visit, Ledger(path))) as url:
        print(url, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
