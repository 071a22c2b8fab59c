"""Appending, rolling, reading back, and what an error of the disk does to the writer."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest
from faulty_disk import FaultyDisk, Killed
from few_descriptors import no_descriptors
from journal_samples import (
    SEGMENT_BYTES,
    bodies,
    open_sample,
    recovered,
    segment_paths,
    verified,
    write_journal,
)

from sagakeep import limits
from sagakeep.errors import (
    DiskFull,
    JournalBroken,
    JournalCorrupt,
    JournalError,
    JournalLocked,
)
from sagakeep.runtime import journal_reader
from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.journal_files import Position, ScannedFrame, open_journal
from sagakeep.simulation.disk import MemoryDisk


def test_a_fresh_directory_becomes_an_empty_journal(tmp_path: Path) -> None:
    opened = open_journal(LocalDisk(), f"{tmp_path}/data/", now_ns=1, segment_bytes=4096)
    assert opened.report == (True, 0, 0, 0, "", False, ())
    assert opened.files.position == 128
    assert list(opened.files.scan()) == []
    assert opened.files.free_bytes() > 0
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names == ["FORMAT", "HEAD", "LOCK", "archive", "quarantine", "snap", "wal"]
    opened.files.close()


def test_a_new_directory_is_durable_before_format_says_that_it_is_there(tmp_path: Path) -> None:
    disk = FaultyDisk(LocalDisk())
    open_sample(disk, f"{tmp_path}/data").files.close()
    steps = ["make_directory wal", f"sync_directory {tmp_path.name}", "rename HEAD.tmp HEAD"]
    steps += ["sync_directory data", "fsync FORMAT.tmp", "rename FORMAT.tmp FORMAT", "allocate"]
    places: list[int] = []
    for step in steps:
        after = places[-1] if places else 0
        lines = enumerate(disk.trace)
        places.append(next(at for at, line in lines if at >= after and line.startswith(step)))
    assert places == sorted(places)


def test_records_are_read_back_by_their_positions_and_by_a_scan(tmp_path: Path) -> None:
    files = open_sample(LocalDisk(), f"{tmp_path}/data").files
    first = files.append([b"one", b"two"])
    second = files.append([b"three"])
    assert (first, second, files.position) == (128, 184, 240)
    assert files.read_record(Position(first, 0)) == b"onetwo"
    assert files.read_record(Position(first, 3)) == b"two"
    assert files.read_record(Position(second, 0)) == b"three"
    assert list(files.scan()) == [ScannedFrame(128, b"onetwo", 2), ScannedFrame(184, b"three", 1)]
    assert list(files.scan(after=129)) == [ScannedFrame(184, b"three", 1)]
    assert list(files.scan(after=second + 1)) == []
    assert files.statistics() == (2, 3, 112, 2, 1, 0)
    files.close()


def test_each_append_is_one_write_and_one_fdatasync() -> None:
    disk = FaultyDisk(MemoryDisk())
    files = open_sample(disk).files
    del disk.trace[:]
    files.append([b"x"] * 100)
    assert [line.split()[0] for line in disk.trace] == ["pwrite", "fdatasync"]
    files.close()


def test_a_full_segment_is_followed_by_the_next_and_positions_go_on() -> None:
    disk = MemoryDisk()
    contents = [bytes([65 + index]) * 150 for index in range(20)]
    positions = write_journal(disk, [[content] for content in contents], clean=True)
    assert positions == sorted(set(positions))
    assert len(segment_paths(disk)) > 3
    files = open_sample(disk).files
    for position, content in zip(positions, contents, strict=True):
        assert files.read_record(Position(position, 0)) == content
        assert next(files.scan(after=position)).body == content
        assert next(files.scan(after=position - 47)).body == content
    assert bodies(files.scan()) == contents
    assert files.statistics().segments == len(segment_paths(disk))
    files.close()


def test_every_segment_but_an_oversized_one_keeps_within_its_capacity() -> None:
    disk = MemoryDisk()
    files = open_sample(disk).files
    for size in range(1, 600, 7):
        files.append([b"x" * size])
    files.append([b"y" * 5 * SEGMENT_BYTES])
    files.append([b"z"])
    files.close()
    sizes = [len(disk.get(path)) for path in segment_paths(disk)]
    assert set(sizes[:-2]) == {SEGMENT_BYTES}
    assert sizes[-2] == 128 + 48 + 5 * SEGMENT_BYTES + 48
    assert verified(disk)[-1] == b"z"


@pytest.mark.parametrize("size", [864, 865, 872, 1000, 1024, 1025])
def test_a_frame_about_the_size_of_a_segment_has_room_with_the_clean_mark(size: int) -> None:
    disk = MemoryDisk()
    files = open_sample(disk).files
    files.append([b"x" * size])
    capacity = len(disk.get(segment_paths(disk)[-1]))
    files.close()
    assert len(disk.get(segment_paths(disk)[-1])) <= capacity
    assert recovered(disk) == [b"x" * size]


def test_nothing_and_too_much_are_refused_before_a_byte_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FRAME_BYTES_MAX", 300)
    disk = FaultyDisk(MemoryDisk())
    files = open_sample(disk).files
    files.append([b"x" * 300])
    del disk.trace[:]
    for records in ([], [b""], [b"x" * 301], [b"x" * 150, b"x" * 151]):
        with pytest.raises(ValueError, match="1 to 300 bytes"):
            files.append(records)
    assert disk.trace == []
    assert files.append([b"y"]) > 128
    files.close()


def test_zeros_and_forged_frames_come_back_as_they_went_in() -> None:
    disk = MemoryDisk()
    contents = [bytes(3000), b"\xf5SGF" * 500, b"a" + bytes(511) + b"b"]
    write_journal(disk, [[content] for content in contents])
    assert recovered(disk) == contents


@pytest.mark.parametrize(
    ("frame", "offset"),
    [
        (0, 0),
        (8, 0),
        (127, 0),
        (129, 0),
        (136, 0),
        (-8, 0),
        (184, 0),
        (800, 0),
        (128, 8),
        (128, -1),
    ],
)
def test_a_position_that_is_no_record_is_a_value_error(frame: int, offset: int) -> None:
    files = open_sample(MemoryDisk()).files
    files.append([b"12345678"])
    with pytest.raises(ValueError, match=r"no frame|has 8 bytes"):
        files.read_record(Position(frame, offset))
    files.close()


def test_a_frame_in_another_frames_records_is_no_frame() -> None:
    disk = MemoryDisk()
    files = open_sample(disk).files
    files.append([b"inner"])
    forged = disk.get(segment_paths(disk)[0])[128:176]
    position = files.append([forged])
    with pytest.raises(ValueError, match="no frame begins there"):
        files.read_record(Position(position + 40, 0))
    files.close()


def test_nothing_is_read_before_it_is_durable() -> None:
    disk = FaultyDisk(MemoryDisk())
    files = open_sample(disk).files
    files.append([b"durable"])
    position = files.position
    disk.fail("fdatasync", errno.EIO)
    with pytest.raises(JournalBroken):
        files.append([b"in doubt"])
    with pytest.raises(ValueError, match=f"durable up to {position}"):
        files.read_record(Position(position, 0))
    assert bodies(files.scan()) == [b"durable"]
    files.close()


def test_a_record_that_the_disk_cannot_read_now_is_told_and_read_later() -> None:
    disk = FaultyDisk(MemoryDisk())
    files = open_sample(disk).files
    position = Position(files.append([b"record"]), 0)
    for operation in ("open", "pread"):
        disk.fail(operation, errno.EIO)
        with pytest.raises(JournalError, match="cannot be read"):
            files.read_record(position)
    disk.fail("pread", errno.EIO)
    with pytest.raises(JournalCorrupt, match="cannot be read"):
        list(files.scan())
    assert files.read_record(position) == b"record"
    files.close()
    with pytest.raises(JournalError, match="the journal is closed"):
        files.read_record(position)


def test_damage_behind_the_writers_back_is_told_when_it_is_read() -> None:
    disk = MemoryDisk()
    files = open_sample(disk).files
    positions = [files.append([bytes([65 + index]) * 20]) for index in range(4)]
    path = segment_paths(disk)[0]
    good = bytes(disk.names[path].data)
    disk.names[path].data[positions[2] + 45] ^= 1
    with pytest.raises(JournalCorrupt, match="body is damaged") as caught:
        files.read_record(Position(positions[2], 0))
    assert (caught.value.file, caught.value.offset) == (path, positions[2])
    with pytest.raises(JournalCorrupt, match="was good when the journal was opened"):
        list(files.scan())
    disk.names[path].data[:] = good
    disk.names[path].data[positions[1] + 5] ^= 1
    for index in (1, 2):
        disk.names[path].data[positions[index]] ^= 1
        with pytest.raises(JournalCorrupt, match="the frame is damaged") as caught:
            files.read_record(Position(positions[index], 0))
        assert caught.value.offset == positions[1]
    files.close()


def test_read_files_and_bodies_are_kept_within_their_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_reader, "OPEN_FILES_MAX", 2)
    monkeypatch.setattr(journal_reader, "CACHED_FRAMES_MAX", 3)
    monkeypatch.setattr(journal_reader, "CACHED_FRAME_BYTES_MAX", 400)
    disk = MemoryDisk()
    files = open_sample(disk).files
    contents = [bytes([65 + index]) * 390 for index in range(10)] + [b"large" * 100]
    positions = [files.append([content]) for content in contents]
    for _ in range(2):
        for position, content in zip(positions, contents, strict=True):
            for offset in (0, 7):
                assert files.read_record(Position(position, offset)) == content[offset:]
            assert len(files._reader._files) <= 2
            assert len(files._reader._bodies) <= 3
    assert positions[-1] not in files._reader._bodies
    assert files.read_record(Position(positions[-1], 1)) == contents[-1][1:]
    files.close()
    assert not files._reader._files


def test_a_frame_longer_than_the_first_read_is_read_whole() -> None:
    files = open_sample(MemoryDisk(), segment_bytes=1 << 20).files
    content = bytes(range(256)) * 300
    position = files.append([content])
    assert files.read_record(Position(position, 0)) == content
    files.close()


def test_other_threads_read_while_one_appends(tmp_path: Path) -> None:
    files = open_sample(LocalDisk(), f"{tmp_path}/data").files
    appended: list[tuple[int, bytes]] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                for position, content in list(appended)[-20:]:
                    assert files.read_record(Position(position, 0)) == content
                known = len(appended)
                assert len(bodies(files.scan())) >= known
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for index in range(150):
        content = b"%d" % index * 20
        appended.append((files.append([content]), content))
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    files.close()


def test_a_full_disk_at_the_roll_changes_nothing_and_heals() -> None:
    disk = FaultyDisk(MemoryDisk())
    files = open_sample(disk).files
    files.append([b"a" * 700])
    before = files.position, files.statistics(), segment_paths(disk)
    disk.fail("allocate", errno.ENOSPC, times=2)
    for _ in range(2):
        with pytest.raises(DiskFull):
            files.append([b"b" * 700])
    assert before == (files.position, files.statistics(), segment_paths(disk))
    files.append([b"small"])
    files.append([b"b" * 700])
    files.close()
    assert recovered(disk) == [b"a" * 700, b"small", b"b" * 700]


def test_a_full_disk_of_the_kernel_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FaultyDisk(LocalDisk())
    files = open_sample(disk, f"{tmp_path}/data").files
    disk.fail("fsync HEAD", errno.EDQUOT)
    with pytest.raises(DiskFull, match="free some"):
        files.append([b"b" * 1700])
    assert not (tmp_path / "data/HEAD.tmp").exists()
    files.append([b"b" * 1700])
    files.close()
    assert verified(LocalDisk(), f"{tmp_path}/data") == [b"b" * 1700]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EBADF])
@pytest.mark.parametrize("operation", ["pwrite", "fdatasync"])
def test_a_failed_write_or_fdatasync_is_final(operation: str, number: int) -> None:
    disk = FaultyDisk(MemoryDisk())
    files = open_sample(disk).files
    files.append([b"durable"])
    disk.fail(operation, number)
    with pytest.raises(JournalBroken, match="in doubt: restart"):
        files.append([b"in doubt"])
    del disk.trace[:]
    for _ in range(2):
        with pytest.raises(JournalBroken, match="in doubt: restart"):
            files.append([b"refused"])
    files.close()
    assert disk.trace == []
    assert recovered(disk.inner)[0] == b"durable"


@pytest.mark.parametrize(
    ("operation", "number"),
    [
        ("allocate", errno.EIO),
        ("fsync 0", errno.EIO),
        ("sync_directory wal", errno.EIO),
        ("rename", errno.ENOSPC),
        ("sync_directory data", errno.EIO),
        ("create", errno.EMFILE),
    ],
)
def test_a_failed_roll_is_final(operation: str, number: int) -> None:
    disk = FaultyDisk(MemoryDisk())
    files = open_sample(disk).files
    files.append([b"a" * 700])
    disk.fail(operation, number)
    for _ in range(2):
        with pytest.raises(JournalBroken):
            files.append([b"b" * 700])
    files.close()
    assert recovered(disk.inner) == [b"a" * 700]


def test_an_append_that_was_interrupted_is_the_last() -> None:
    disk = FaultyDisk(MemoryDisk())
    files = open_sample(disk).files
    disk.kill(0)
    with pytest.raises(Killed):
        files.append([b"interrupted"])
    disk.heal()
    with pytest.raises(JournalBroken, match="begun and not finished"):
        files.append([b"refused"])


def test_a_clean_close_is_marked_trimmed_and_made_once() -> None:
    disk = MemoryDisk()
    files = open_sample(disk).files
    files.append([b"one"])
    files.close()
    files.close()
    assert len(disk.get(segment_paths(disk)[0])) == 128 + 48 + 48
    with pytest.raises(JournalBroken, match="the journal is closed"):
        files.append([b"late"])
    opened = open_sample(disk)
    assert opened.report == (False, 1, 1, 0, "", False, ())
    assert opened.files.position == 224 + 128
    assert bodies(opened.files.scan()) == [b"one"]
    opened.files.close()


def test_a_clean_close_lets_go_of_the_directory_even_when_it_fails() -> None:
    for operation in ("fdatasync", "truncate", "fsync 0"):
        disk = FaultyDisk(MemoryDisk())
        files = open_sample(disk).files
        files.append([b"one"])
        disk.fail(operation, errno.EIO)
        with pytest.raises(JournalBroken):
            files.close()
        assert recovered(disk.inner) == [b"one"]


def test_a_second_opener_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    disk = LocalDisk()
    files = open_sample(disk, f"{tmp_path}/data").files
    with pytest.raises(JournalLocked, match="is locked by process"):
        open_sample(disk, f"{tmp_path}/data")
    files.append([b"still mine"])
    files.close()
    open_sample(disk, f"{tmp_path}/data").files.close()


def test_an_open_that_fails_says_why_and_lets_go_of_the_directory() -> None:
    disk = FaultyDisk(MemoryDisk())
    disk.fail("allocate", errno.ENOSPC)
    with pytest.raises(DiskFull):
        open_sample(disk)
    disk.fail("create HEAD", errno.ENOSPC)
    with pytest.raises(DiskFull, match="no space"):
        open_sample(disk)
    disk.fail("rename", errno.EIO)
    with pytest.raises(JournalError, match="data: the journal cannot be opened"):
        open_sample(disk)
    open_sample(disk).files.close()


def test_a_journal_rolls_when_the_process_has_no_descriptor_left(tmp_path: Path) -> None:
    files = open_sample(LocalDisk(), f"{tmp_path}/data").files
    with no_descriptors():
        for _ in range(20):
            files.append([b"x" * (SEGMENT_BYTES // 2)])
    assert files.statistics().segments > 10
    files.close()
    assert len(verified(LocalDisk(), f"{tmp_path}/data")) == 20
