"""Small journals for the tests of the journal, on any disk, always the same bytes for the same calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count

from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_files import OpenedJournal, ScannedFrame, open_journal, verify_journal

DATA = "data"
UUID = bytes(range(16, 32))
SEGMENT_BYTES = 1024


def salts() -> Callable[[], bytes]:
    """Return a source of salts that differ and are the same in each run."""
    numbers = count(1)
    return lambda: b"salt" + next(numbers).to_bytes(12, "big")


def open_sample(
    disk: Disk, directory: str = DATA, *, segment_bytes: int = SEGMENT_BYTES
) -> OpenedJournal:
    return open_journal(
        disk,
        directory,
        now_ns=1_700_000_000_000_000_000,
        segment_bytes=segment_bytes,
        salt=salts(),
        uuid=lambda: UUID,
    )


def write_journal(disk: Disk, frames: Iterable[list[bytes]], *, clean: bool = False) -> list[int]:
    """Open a journal, append the frames and close it; return their positions."""
    files = open_sample(disk).files
    positions = [files.append(records) for records in frames]
    files.close(clean=clean)
    return positions


def bodies(frames: Iterable[ScannedFrame]) -> list[bytes]:
    return [found.body for found in frames]


def verified(disk: Disk, directory: str = DATA) -> list[bytes]:
    """Return the bodies that the read-only check yields."""
    return bodies(verify_journal(disk, directory))


def recovered(disk: Disk) -> list[bytes]:
    """Open the journal as a new start would, and return all bodies it has then."""
    files = open_sample(disk).files
    found = bodies(files.scan())
    files.close(clean=False)
    return found


def segment_paths(disk: Disk, directory: str = DATA) -> list[str]:
    return [f"{directory}/wal/{name}" for name in disk.list(f"{directory}/wal")]
