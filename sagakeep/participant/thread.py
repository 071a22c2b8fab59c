"""One thread for calls that block, awaited from asyncio or from trio, whichever runs.

Neither is imported where the other one runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import trio

T = TypeVar("T")


class OneThread:
    """At most one call runs at a time. One that is cancelled in asyncio may still run to its end."""

    def __init__(self) -> None:
        self._limiter: trio.CapacityLimiter | None = None
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[[], T]) -> T:
        if _is_trio():
            return await self._run_in_trio(function)
        return await self._run_in_asyncio(function)

    def close(self) -> None:
        """End the thread; may be repeated."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    async def _run_in_trio(self, function: Callable[[], T]) -> T:
        import trio

        if self._limiter is None:
            self._limiter = trio.CapacityLimiter(1)
        return await trio.to_thread.run_sync(function, limiter=self._limiter)

    async def _run_in_asyncio(self, function: Callable[[], T]) -> T:
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "saga-calls")
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)


def _is_trio() -> bool:
    if "trio" not in sys.modules:
        return False
    import trio

    return trio.lowlevel.in_trio_run()
