"""The archiver: moves segments that no start will fold again into compressed archives, one at a time.

A segment may go when it lies wholly below the oldest snapshot that is kept: whichever the next start uses, it
reads none of it but single records of finished sagas; and `behind_bytes` below that, for the youngest are asked
for most. So it is looked for one after each snapshot, and at the start.

All of it is done in a thread of its own, with a pause after each segment, and what goes wrong costs space and
nothing else: the segment stays where it is, and is tried again after the next snapshot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from sagakeep import limits
from sagakeep.errors import JournalError
from sagakeep.runtime.blocking import RunBlocking, in_thread
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_files import JournalFiles
from sagakeep.runtime.segment import Segment
from sagakeep.runtime.snapshot_file import snapshot_positions

_log = logging.getLogger(__name__)

PAUSE_S: Final = 0.2  # between two segments: at most half of a core


class Archiver:
    """Archives what `wake` says there may be. `run` is its task."""

    def __init__(
        self,
        files: JournalFiles,
        disk: Disk,
        directory: str,
        run_blocking: RunBlocking = in_thread,
        behind_bytes: int = limits.ARCHIVE_BEHIND_BYTES,
    ) -> None:
        self._files = files
        self._disk = disk
        self._directory = directory
        self._run_blocking = run_blocking
        self._behind_bytes = behind_bytes
        self._thread = trio.CapacityLimiter(1)
        self._woken = trio.Event()
        self.on_archived: Callable[[], None] = lambda: None

    def wake(self) -> None:
        """A snapshot was saved."""
        self._woken.set()

    async def run(self) -> None:
        """Archive what can be, for ever."""
        while True:
            await self._archive_all()
            await self._woken.wait()
            self._woken = trio.Event()

    async def archive_below(self, position: int) -> None:
        """Archive what lies wholly below a position, young or old; the caller sees to the snapshots."""
        await self._archive(partial(self._files.archive_next, position))

    async def _archive_all(self) -> None:
        await self._archive(self._archive_next)

    async def _archive(self, archive_next: Callable[[], Segment | None]) -> None:
        try:
            while True:
                if await self._run_blocking(archive_next, limiter=self._thread) is None:
                    return
                self.on_archived()
                await trio.sleep(PAUSE_S)
        except (OSError, JournalError) as error:
            _log.warning("a segment is not archived now: %s", error)

    def _archive_next(self) -> Segment | None:
        positions = snapshot_positions(self._disk, self._directory)
        if not positions:
            return None
        return self._files.archive_next(min(positions) - self._behind_bytes)
