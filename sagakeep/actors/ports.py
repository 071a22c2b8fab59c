"""The ports of an engine: where time, chance, threads and the disk come in."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from sagakeep import limits
from sagakeep.actors.row_file import RowFile
from sagakeep.runtime.blocking import RunBlocking, in_thread
from sagakeep.runtime.disk import Disk, LocalDisk
from sagakeep.runtime.resident import resident_bytes
from sagakeep.tracer import Tracer


class Ports(NamedTuple):
    """Where time, chance and the disk come in, so that all of it can run in a simulation.

    Virtual time needs `in_turn` for `run_blocking`: a clock that jumps would jump while a thread works.
    """

    disk: Disk = LocalDisk()
    wall: Callable[[], float] = time.time
    draw: Callable[[], float] = random.random
    run_blocking: RunBlocking = in_thread
    resident_bytes: Callable[[], int] = resident_bytes
    chance: Callable[[int], bytes] = os.urandom  # what ids and salts are made of
    stopwatch: Callable[[], float] = time.monotonic  # paces work that blocks, seconds
    row_file: Callable[[str], RowFile] = RowFile
    segment_bytes: int = limits.SEGMENT_BYTES
    snapshot_every_bytes: int = limits.SNAPSHOT_EVERY_BYTES
    commit_bytes: int = limits.COMMIT_BYTES_TARGET
    heartbeat_s: float = 0.1  # between two looks at the loop's lag; 0 for never
    look_every_s: float = 1.0  # for what alerts are about; 0 for never
    archive_behind_bytes: int = limits.ARCHIVE_BEHIND_BYTES
    erase_after_s: float = limits.ERASE_AFTER_S
    queue_ahead: int = limits.QUEUE_AHEAD
    tracer: Tracer | None = None  # is told of attempts and sagas that are over
    never_stuck_every_s: float = 1.0  # between two rounds of it; 0 for never
