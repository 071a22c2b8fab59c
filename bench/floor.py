"""The floor: what durability alone costs on this machine, with nothing of sagakeep around it.

One trio task a saga, three msgpack appends that each wait for a shared fdatasync; no machine, no mailbox, no
registry. The product is measured against it in the same process and run, by turns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import msgpack
import trio

PAYLOAD = {"productId": "prod_123", "quantity": 2}


class FloorLog:
    """Group commit in its plainest form."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(self._fd, 0, 64 << 20)
        self._end = 0
        self._data: list[bytes] = []
        self._synced = trio.Event()
        self._work = trio.Event()
        self.fdatasyncs = 0

    async def append(self, data: bytes) -> None:
        self._data.append(data)
        self._work.set()
        await self._synced.wait()

    async def run(self) -> None:
        limiter = trio.CapacityLimiter(1)
        while True:
            await self._work.wait()
            self._work = trio.Event()
            data, self._data = b"".join(self._data), []
            synced, self._synced = self._synced, trio.Event()
            await trio.to_thread.run_sync(self._write, data, limiter=limiter)
            synced.set()

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        os.pwrite(self._fd, data, self._end)
        os.fdatasync(self._fd)
        self._end += len(data)
        self.fdatasyncs += 1


async def run_floor(
    path: str, sagas: int, in_flight: int, progress: Callable[[int], None]
) -> float:
    """Run so many sagas through the bare loop; return the seconds that it took."""
    log = FloorLog(path)
    pack = msgpack.Packer().pack
    window = trio.Semaphore(in_flight)

    async def one(index: int) -> None:
        for step in range(3):
            await log.append(pack([f"saga-{index}", step, time.time(), PAYLOAD]))
        window.release()
        progress(1)

    async with trio.open_nursery() as outer:
        outer.start_soon(log.run)
        began_s = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for index in range(sagas):
                await window.acquire()
                nursery.start_soon(one, index)
        elapsed_s = time.perf_counter() - began_s
        outer.cancel_scope.cancel()
    log.close()
    os.unlink(path)
    return elapsed_s
