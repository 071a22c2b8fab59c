"""Snapshots: the newest whole one is read, a damaged one is passed over, none is lost by a failed write."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from faulty_disk import FaultyDisk, Killed
from journal_samples import DATA, open_sample

from sagakeep import limits
from sagakeep.errors import DiskFull, JournalCorrupt, JournalError
from sagakeep.runtime.disk import Disk, LocalDisk
from sagakeep.runtime.journal_directory import Format
from sagakeep.runtime.snapshot_file import read_newest_snapshot, write_snapshot
from sagakeep.simulation.disk import MemoryDisk

CHUNKS = [b"first chunk", b"", bytes(100), b"\xf5SCK not a chunk", b"END\xa5"]


def a_disk() -> MemoryDisk:
    disk = MemoryDisk()
    open_sample(disk).files.close()
    return disk


def path_of(position: int) -> str:
    return f"{DATA}/snap/{position:016x}.snap"


def positions(disk: Disk) -> list[int]:
    return [int(name.removesuffix(".snap"), 16) for name in disk.list(f"{DATA}/snap")]


def newest(disk: Disk) -> tuple[int, list[bytes]] | None:
    snapshot = read_newest_snapshot(disk, DATA)
    return None if snapshot is None else (snapshot.position, snapshot.chunks)


@pytest.mark.parametrize("chunks", [CHUNKS, [], [b""], [b"x" * 100_000] * 3])
def test_chunks_are_read_as_they_were_written(tmp_path: Path, chunks: list[bytes]) -> None:
    root = f"{tmp_path}/data/"
    open_sample(LocalDisk(), root).files.close()
    assert read_newest_snapshot(LocalDisk(), root) is None
    write_snapshot(LocalDisk(), root, 4711, iter(chunks))
    assert read_newest_snapshot(LocalDisk(), root) == (4711, chunks, ())


def test_the_newest_is_read_and_two_are_kept() -> None:
    disk = a_disk()
    disk.put(f"{DATA}/snap/mine.txt", b"foreign")
    for position in (1000, 256, 5000, 3000):
        write_snapshot(disk, DATA, position, [b"at %d" % position])
    assert newest(disk) == (5000, [b"at 5000"])
    assert disk.get(f"{DATA}/snap/mine.txt") == b"foreign"
    disk.unlink(f"{DATA}/snap/mine.txt")
    assert positions(disk) == [3000, 5000]


def test_a_snapshot_of_the_same_position_takes_the_place_of_the_first() -> None:
    disk = a_disk()
    for content in (b"one", b"two"):
        write_snapshot(disk, DATA, 128, [content])
    assert newest(disk) == (128, [b"two"])


def test_every_flipped_bit_and_every_cut_passes_over_to_the_older_one() -> None:
    disk = a_disk()
    write_snapshot(disk, DATA, 128, [b"older"])
    write_snapshot(disk, DATA, 256, CHUNKS)
    data = disk.get(path_of(256))
    damaged = [data[:length] for length in range(len(data))]
    damaged.append(data + b"\0")
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for content in damaged:
        disk.put(path_of(256), content)
        snapshot = read_newest_snapshot(disk, DATA)
        assert snapshot is not None
        assert snapshot[:2] == (128, [b"older"])
        assert f"{path_of(256)} was passed over" in snapshot.notes[0]
    disk.put(path_of(128), b"")
    assert newest(disk) is None


def test_swapped_dropped_and_repeated_chunks_are_passed_over() -> None:
    disk = a_disk()
    write_snapshot(disk, DATA, 128, [b"a" * 16, b"b" * 16])
    data = disk.get(path_of(128))
    head, one, two, foot = data[:44], data[44:76], data[76:108], data[108:]
    assert head + one + two + foot == data
    for mixed in (two + one, one, two, one + one + two, b""):
        disk.put(path_of(128), head + mixed + foot)
        assert newest(disk) is None


def test_a_snapshot_of_another_journal_or_position_is_passed_over() -> None:
    disk = a_disk()
    write_snapshot(disk, DATA, 128, CHUNKS)
    data = disk.get(path_of(128))
    disk.put(path_of(256), data)
    assert newest(disk) == (128, CHUNKS)
    disk.put(f"{DATA}/FORMAT", Format(b"other" * 3 + b"!", 1).encode())
    assert newest(disk) is None


def test_a_directory_without_format_takes_no_snapshot() -> None:
    with pytest.raises(JournalCorrupt, match="is missing"):
        write_snapshot(MemoryDisk(), DATA, 128, CHUNKS)


def test_a_snapshot_is_synced_and_read_back_before_it_has_its_name() -> None:
    disk = FaultyDisk(a_disk())
    write_snapshot(disk, DATA, 1, [b"x"])
    write_snapshot(disk, DATA, 2, [b"x"])
    del disk.trace[:]
    write_snapshot(disk, DATA, 3, [b"x"])
    name = f"{3:016x}.snap"
    assert disk.trace[disk.trace.index(f"create {name}.tmp") :] == [
        f"create {name}.tmp",
        f"pwrite {name}.tmp",
        f"pwrite {name}.tmp",
        f"pwrite {name}.tmp",
        f"fsync {name}.tmp",
        f"open {name}.tmp",
        f"pread {name}.tmp",
        f"rename {name}.tmp {name}",
        "sync_directory snap",
        "list snap",
        f"unlink {1:016x}.snap",
    ]


@pytest.mark.parametrize(
    ("number", "raised"),
    [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, JournalError)],
)
@pytest.mark.parametrize("operation", ["create", "pwrite", "fsync", "rename"])
def test_a_failed_write_leaves_the_older_snapshots(
    operation: str, number: int, raised: type[JournalError]
) -> None:
    disk = FaultyDisk(a_disk())
    write_snapshot(disk, DATA, 128, CHUNKS)
    disk.fail(operation, number)
    with pytest.raises(raised):
        write_snapshot(disk, DATA, 256, [b"lost"])
    assert newest(disk) == (128, CHUNKS)
    assert positions(disk) == [128]
    write_snapshot(disk, DATA, 256, [b"kept"])
    assert newest(disk) == (256, [b"kept"])


def test_a_disk_that_keeps_other_bytes_is_noticed_before_the_rename() -> None:
    disk = a_disk()

    def chunks() -> Iterator[bytes]:
        yield b"first"
        disk.names[f"{path_of(256)}.tmp"].data[60] ^= 1

    with pytest.raises(JournalError, match="did not keep the snapshot"):
        write_snapshot(disk, DATA, 256, chunks())
    assert positions(disk) == []
    faulty = FaultyDisk(disk)
    faulty.fail("pread 00", errno.EIO)
    with pytest.raises(JournalCorrupt, match="cannot be read"):
        write_snapshot(faulty, DATA, 256, CHUNKS)
    assert positions(disk) == []


def test_a_chunk_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FRAME_BYTES_MAX", 8)
    disk = a_disk()
    write_snapshot(disk, DATA, 128, [b"x" * 8])
    with pytest.raises(ValueError, match="9 of 8 bytes"):
        write_snapshot(disk, DATA, 256, [b"x" * 9])
    assert newest(disk) == (128, [b"x" * 8])


def test_a_kill_or_a_power_cut_before_any_operation_leaves_a_whole_snapshot() -> None:
    probe = FaultyDisk(a_disk())
    write_snapshot(probe, DATA, 128, [b"old"])
    before = len(probe.trace)
    write_snapshot(probe, DATA, 256, CHUNKS)
    for index in range(len(probe.trace) - before):
        disk = FaultyDisk(a_disk())
        write_snapshot(disk, DATA, 128, [b"old"])
        disk.kill(index)
        with pytest.raises(Killed):
            write_snapshot(disk, DATA, 256, CHUNKS)
        inner = disk.inner
        assert isinstance(inner, MemoryDisk)
        for cut in (inner, inner.cut_power(), *(inner.cut_power(Random(n)) for n in range(10))):
            assert newest(cut) in [(128, [b"old"]), (256, CHUNKS)]
