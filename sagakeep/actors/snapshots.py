"""Snapshots: taken when the journal has grown enough, so that a start reads only its tail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import trio

from sagakeep import limits
from sagakeep.actors.committed import Committed, Statistics
from sagakeep.actors.live_sagas import Cut
from sagakeep.actors.recovery import save_snapshot
from sagakeep.errors import JournalError
from sagakeep.runtime.blocking import RunBlocking, in_thread
from sagakeep.runtime.disk import Disk

_log = logging.getLogger(__name__)


class _Cut(NamedTuple):
    through: int
    live: Cut
    statistics: Statistics


class Snapshots:
    """Saves what is committed.

    A cut of the table is consistent if it is taken between two frames.
    """

    def __init__(
        self,
        disk: Disk,
        directory: str,
        committed: Committed,
        run_blocking: RunBlocking = in_thread,
        every_bytes: int = limits.SNAPSHOT_EVERY_BYTES,
    ) -> None:
        self._disk = disk
        self._run_blocking = run_blocking
        self._directory = directory
        self._every_bytes = every_bytes
        self._committed = committed
        self._taken_through = 0
        self._cut: _Cut | None = None
        self._grown = trio.Event()
        self._is_wanted = False
        self._thread = trio.CapacityLimiter(1)
        self.on_saved: Callable[[], None] = lambda: None
        committed.on_synced = self._look

    async def run(self) -> None:
        """Save whenever the journal has grown by `every_bytes`."""
        while True:
            await self._grown.wait()
            self._grown = trio.Event()
            cut, self._cut = self._cut, None
            assert cut is not None, "it grew, so a cut was taken"
            await self._save(cut)

    async def save(self) -> None:
        """Save now; when the journal rests."""
        await self._save(self._take_cut())

    def want(self) -> None:
        """Save soon, however little the journal has grown: when it has next told what is durable."""
        self._is_wanted = True

    def _take_cut(self) -> _Cut:
        committed = self._committed
        self._taken_through = committed.through
        return _Cut(committed.through, committed.live.cut(), committed.counters.statistics())

    async def _save(self, cut: _Cut) -> None:
        """A failure costs time at the next start and nothing else, so it is only logged."""
        try:
            await self._run_blocking(
                save_snapshot,
                self._disk,
                self._directory,
                *cut,
                limiter=self._thread,
            )
        except (OSError, JournalError) as error:
            _log.warning("no snapshot at %d: %s", cut.through, error)
        else:
            self.on_saved()

    def _look(self) -> None:
        """Between two frames: is it time?"""
        if self._is_wanted or self._committed.through - self._taken_through >= self._every_bytes:
            self._is_wanted = False
            self._cut = self._take_cut()
            self._grown.set()
