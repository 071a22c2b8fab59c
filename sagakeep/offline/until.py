"""How far a copy of a journal is to go: to a position, or to a time; and the end of a frame for it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sagakeep.codec import decode_records
from sagakeep.errors import BackupRefused
from sagakeep.offline.salvage import read_chain
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import Paths
from sagakeep.runtime.journal_files import verify_journal


class UntilPosition(NamedTuple):
    """Nothing that ends beyond this position of the journal."""

    position: int


class UntilTime(NamedTuple):
    """Nothing from the first frame on that has a record which was decided later."""

    at_utc_s: float


Until = UntilPosition | UntilTime


def parse_until(text: str) -> Until:
    """Read a position, or a time in the form of RFC 3339. Raises ValueError."""
    if text.isdecimal() and text.isascii():
        return UntilPosition(int(text))
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        example = 'a position of the journal, or a time such as "2026-01-31T12:00:00Z"'
        raise ValueError(f"{text!r} is neither a position nor a time; expected {example}")
    return UntilTime(at.timestamp())


def boundary_of(disk: Disk, paths: Paths, until: Until) -> int | None:
    """Return where the journal is to end, None for all of it. Raises BackupRefused for nothing of it."""
    if isinstance(until, UntilPosition):
        end = _last_before(disk, paths, until.position)
    else:
        end = _end_at(disk, paths, until.at_utc_s)
    if end is not None and not _has_records(disk, paths, end):
        raise BackupRefused(f"{paths.root}: the journal has no record that is so old")
    return end


def _last_before(disk: Disk, paths: Paths, position: int) -> int | None:
    chain = read_chain(disk, paths)
    if chain.end <= position:
        return None
    ends = (end for one in chain.segments for end in one.boundaries if end <= position)
    return max(ends, default=0)


def _end_at(disk: Disk, paths: Paths, at_utc_s: float) -> int | None:
    until_us = round(at_utc_s * 1e6)
    for found in verify_journal(disk, paths.root):
        for _, record in decode_records(found.body):
            if round(record.at_utc_s * 1e6) > until_us:
                return found.position
    return None


def _has_records(disk: Disk, paths: Paths, end: int) -> bool:
    first = next(iter(verify_journal(disk, paths.root)), None)
    return first is not None and first.position < end
