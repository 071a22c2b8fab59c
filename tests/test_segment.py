"""Segment headers, names, and the order in which a segment is begun."""

from __future__ import annotations

import errno

import pytest
from faulty_disk import FaultyDisk
from journal_samples import UUID

from sagakeep.errors import DiskFull, JournalCorrupt
from sagakeep.runtime import segment
from sagakeep.runtime.journal_directory import Paths, read_head
from sagakeep.runtime.segment import Segment
from sagakeep.simulation.disk import MemoryDisk

SEGMENT = Segment(UUID, 7, 0xA1B2C8, 3, 0xDEADBEEF, 1_700_000_000_000_000_000, bytes(range(16)))
NAME = "0000000000000007-0000000000a1b2c8.seg"


def test_a_header_is_read_as_it_was_written() -> None:
    data = SEGMENT.encode()
    assert len(data) == segment.HEADER_BYTES == 128
    assert segment.decode(data + bytes(99), f"wal/{NAME}") == SEGMENT


def test_a_name_says_number_and_base() -> None:
    assert SEGMENT.name == NAME
    assert segment.parse_name(NAME) == (7, 0xA1B2C8)
    for foreign in (NAME + ".tmp", NAME.upper(), "7-8.seg", "x" + NAME):
        assert segment.parse_name(foreign) is None


def test_every_flipped_bit_and_every_cut_of_a_header_is_refused() -> None:
    data = SEGMENT.encode()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(JournalCorrupt, match="crc of the segment header"):
            segment.decode(bytes(flipped), NAME)
    for length in range(len(data)):
        with pytest.raises(JournalCorrupt, match=f"has {length} of 128 bytes"):
            segment.decode(data[:length], NAME)


def test_a_header_under_another_name_is_refused() -> None:
    with pytest.raises(JournalCorrupt, match="was named"):
        segment.decode(SEGMENT.encode(), "wal/" + SEGMENT._replace(number=8).name)


def test_a_header_of_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "VERSION", 2)
    data = SEGMENT.encode()
    monkeypatch.undo()
    with pytest.raises(JournalCorrupt, match="no segment of format 1"):
        segment.decode(data, NAME)


def test_a_segment_is_durable_before_head_names_it_and_head_before_it_is_used() -> None:
    disk = FaultyDisk(MemoryDisk())
    file = segment.begin(disk, Paths("data"), SEGMENT, 4096)
    assert file.size() == 4096
    assert disk.trace == [
        f"create {NAME}",
        f"allocate {NAME}",
        f"pwrite {NAME}",
        f"fsync {NAME}",
        "sync_directory wal",
        "create HEAD.tmp",
        "pwrite HEAD.tmp",
        "fsync HEAD.tmp",
        "rename HEAD.tmp HEAD",
        "sync_directory data",
    ]
    assert read_head(disk, Paths("data")) == (UUID, 7, 0xA1B2C8)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(
    "operation",
    ["create 0", "allocate", "pwrite 0", "fsync 0", "sync", "create H", "pwrite H", "fsync H"],
)
def test_a_full_disk_leaves_nothing_behind(operation: str, number: int) -> None:
    inner = MemoryDisk()
    disk = FaultyDisk(inner)
    disk.fail(operation, number)
    with pytest.raises(DiskFull, match="no space for a segment of 4096 bytes"):
        segment.begin(disk, Paths("data"), SEGMENT, 4096)
    assert inner.paths() == []


@pytest.mark.parametrize("operation", ["allocate", "fsync 0", "rename", "sync_directory data"])
def test_a_failing_disk_is_told_as_it_is(operation: str) -> None:
    disk = FaultyDisk(MemoryDisk())
    disk.fail(operation, errno.EIO)
    with pytest.raises(OSError) as caught:
        segment.begin(disk, Paths("data"), SEGMENT, 4096)
    assert caught.value.errno == errno.EIO
