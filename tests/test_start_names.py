"""A start that relies on a name has made sure of it: a power cut takes nothing from under what stands on it."""

from __future__ import annotations

from random import Random

import pytest

from sagakeep.runtime.journal_files import open_journal, verify_journal
from sagakeep.simulation.disk import MemoryDisk


class Killed(Exception):
    """The process ends here; what it wrote is seen by the next one."""


class Unsynced(MemoryDisk):
    """Is killed at the n-th sync of a directory, before it is done."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def sync_directory(self, path: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed
        super().sync_directory(path)


def begin(disk: Unsynced, killed_at: int) -> None:
    """Start, write, and be killed at some sync of a directory, if there are as many."""
    disk.left = killed_at
    try:
        files = open_journal(disk, "d", now_ns=0, segment_bytes=8192).files
        files.append([b"\x01"])
        files.close(clean=False)
    except Killed:
        pass
    disk.kill()


@pytest.mark.parametrize("first", range(1, 9))
@pytest.mark.parametrize("second", range(1, 9))
def test_names_that_a_killed_start_gave_are_not_lost_by_a_power_cut(
    first: int, second: int
) -> None:
    for seed in range(20):
        disk = Unsynced(0)
        begin(disk, first)
        begin(disk, second)  # sees the names that the first gave
        open_journal(disk.cut_power(Random(seed)), "d", now_ns=0, segment_bytes=8192).files.close(
            clean=False
        )


@pytest.mark.parametrize("second", range(1, 9))
@pytest.mark.parametrize("third", range(1, 9))
def test_nor_are_those_that_two_starts_gave_to_a_journal_that_was_there(
    second: int, third: int
) -> None:
    for seed in range(20):
        disk = Unsynced(0)
        begin(disk, 0)
        begin(disk, second)
        begin(disk, third)
        cut = disk.cut_power(Random(seed))
        list(verify_journal(cut.copy(), "d"))
        open_journal(cut, "d", now_ns=0, segment_bytes=8192).files.close(clean=False)
