"""Archived segments: what takes their place says the same, and no instant of a crash loses either."""

from __future__ import annotations

import contextlib
import errno
import io
from itertools import pairwise
from random import Random

import pytest
from backports import zstd
from corruption.sample import DATA, make_sample
from faulty_disk import FaultyDisk, Killed
from journal_samples import SEGMENT_BYTES, UUID, bodies, open_sample, recovered, verified

from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.offline.audit import Audit
from sagakeep.offline.diagnosis import diagnose
from sagakeep.offline.repair import plan_quarantine, plan_truncation
from sagakeep.offline.repair_plan import carry_out
from sagakeep.offline.salvage import read_chain
from sagakeep.runtime import frame, segment
from sagakeep.runtime.archive import CHUNK_BYTES, ArchiveFile, encode_archive, read_archive
from sagakeep.runtime.archiving import write_archive
from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.frame import Amended
from sagakeep.runtime.journal_check import read_layout
from sagakeep.runtime.journal_directory import Paths
from sagakeep.runtime.journal_files import Position, open_journal
from sagakeep.runtime.segment import Segment
from sagakeep.runtime.segment_source import read_segment_file
from sagakeep.simulation.disk import MemoryDisk

PATHS = Paths(DATA)
RECORDS = [[b"one" * 50, b"two"], [bytes(700)], [b"x" * 300] * 2, [b"abc" * 200], [b"last"]]
WRITTEN = [b"".join(records) for records in RECORDS]
EVERYTHING = 1 << 60
SAMPLE = make_sample(archive_behind_bytes=1)


def filled(disk):
    """A journal of several segments, open; and the positions of its frames."""
    files = open_sample(disk).files
    return files, [files.append(records) for records in RECORDS]


def archive_all(files):
    while files.archive_next(EVERYTHING):
        pass


def archived(disk):
    files, positions = filled(disk)
    archive_all(files)
    return files, positions


def archives(disk):
    return [f"{PATHS.archive}/{name}" for name in disk.list(PATHS.archive)]


def wal(disk):
    return disk.list(PATHS.wal)


# What stands in it


def test_every_frame_is_read_from_the_archive_as_from_the_segment():
    disk = MemoryDisk()
    files, positions = filled(disk)
    assert len(wal(disk)) > 3
    before = [files.read_record(Position(position, 0)) for position in positions]
    archive_all(files)
    assert len(wal(disk)) == 1, "the one that is written to"
    assert [files.read_record(Position(position, 0)) for position in positions] == before
    assert bodies(files.scan()) == verified(disk) == WRITTEN
    assert files.statistics().archived == files.statistics().segments - 1
    assert files.place_of(positions[0])[0] == archives(disk)[0]
    assert files.place_of(positions[-1])[0] == f"{PATHS.wal}/{wal(disk)[-1]}"
    files.append([b"more"])
    files.close()
    assert recovered(disk) == [*WRITTEN, b"more"]


def test_zstd_alone_makes_the_segment_of_an_archive():
    disk, twin = MemoryDisk(), MemoryDisk()
    filled(twin)
    archived(disk)
    for path in archives(disk):
        plain = twin.get(path.replace("archive", "wal").removesuffix(".zst"))
        made = zstd.open(io.BytesIO(disk.get(path))).read()
        assert plain.startswith(made)
        assert not any(plain[len(made) :])


def test_only_what_lies_wholly_below_a_position_is_archived():
    disk = MemoryDisk()
    files, _ = filled(disk)
    bases = [int(name[17:33], 16) for name in wal(disk)]
    assert files.archive_next(bases[1] - 1) is None
    assert files.archive_next(bases[1]).number == 1
    assert files.archive_next(bases[1]) is None


def test_a_long_segment_is_read_across_its_chunks():
    disk = MemoryDisk()
    files = open_sample(disk, segment_bytes=1 << 20).files
    random = Random(1)
    frames = [random.randbytes(CHUNK_BYTES // 3) for _ in range(12)]
    positions = [files.append([one]) for one in frames]
    files.close()
    files = open_sample(disk).files
    archive_all(files)
    assert [files.read_record(Position(one, 0)) for one in positions] == frames
    (path,) = archives(disk)
    source = ArchiveFile(disk, path)
    assert source.pread(10, source.size() - 4) == source.pread(4, source.size() - 4)
    assert source.pread(1, source.size() + 1) == b""


def test_segments_of_an_earlier_start_are_archived_too():
    disk = MemoryDisk()
    files, _ = filled(disk)
    files.close()
    files = open_sample(disk).files
    archive_all(files)
    assert bodies(files.scan()) == WRITTEN
    files.close()
    assert open_sample(disk).files.statistics().archived == len(archives(disk))


# Damage


def test_no_changed_bit_of_an_archive_goes_unseen():
    disk = MemoryDisk()
    archived(disk)
    path = archives(disk)[1]
    data = disk.get(path)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        disk.put(path, bytes(changed))
        with pytest.raises(JournalCorrupt, match="archive"):
            read_segment_file(disk, path)


def test_no_archive_that_is_cut_short_or_continued_is_taken():
    disk = MemoryDisk()
    archived(disk)
    path = archives(disk)[1]
    data = disk.get(path)
    for changed in (*(data[:end] for end in range(len(data))), data + b"\0", b"\0" + data):
        disk.put(path, changed)
        with pytest.raises(JournalCorrupt, match="archive"):
            read_segment_file(disk, path)


def test_a_damaged_index_refuses_the_start_and_a_damaged_chunk_the_reading():
    disk = MemoryDisk()
    files, positions = archived(disk)
    files.close()
    path = archives(disk)[0]
    data = bytearray(disk.get(path))
    data[20] ^= 1
    disk.put(path, bytes(data))
    files = open_sample(disk).files
    with pytest.raises(JournalCorrupt, match="decompress"):
        files.read_record(Position(positions[0], 0))
    files.close()
    with pytest.raises(JournalCorrupt, match="compressed bytes"):
        verified(disk)
    data[-20] ^= 1
    disk.put(path, bytes(data))
    with pytest.raises(JournalCorrupt, match="index"):
        open_sample(disk)


def test_an_archive_of_another_journal_name_or_place_is_refused():
    disk = MemoryDisk()
    files, _ = archived(disk)
    files.close()
    first, second = archives(disk)[:2]
    other = disk.copy()
    other.put(first, disk.get(second))
    with pytest.raises(JournalCorrupt, match="was named"):
        open_sample(other)
    other = disk.copy()
    other.unlink(second)
    with pytest.raises(JournalCorrupt, match="segment 2 should stand here"):
        open_sample(other)
    stranger = MemoryDisk()
    strange = open_journal(stranger, DATA, now_ns=1, segment_bytes=SEGMENT_BYTES).files
    for records in RECORDS:
        strange.append(records)
    archive_all(strange)
    other = disk.copy()
    other.put(first, stranger.get(first))
    with pytest.raises(JournalCorrupt, match="another journal"):
        open_sample(other)


def test_an_archive_that_ends_elsewhere_than_the_next_segment_begins_is_refused():
    disk = MemoryDisk()
    files, _ = archived(disk)
    files.close()
    path = archives(disk)[0]
    _, data, _ = read_segment_file(disk, path)
    index = read_archive(disk, path)
    disk.put(path, encode_archive(path, data[:-8], index.last_crc, index.frames, {}))
    with pytest.raises(JournalCorrupt, match="but the next segment begins at"):
        open_sample(disk)
    disk.put(path, encode_archive(path, data, index.last_crc ^ 1, index.frames, {}))
    with pytest.raises(JournalCorrupt, match="followed another one"):
        open_sample(disk)


def test_chunks_that_are_shorter_than_the_index_says_are_told():
    disk = MemoryDisk()
    archived(disk)
    path = archives(disk)[0]
    _, data, _ = read_segment_file(disk, path)
    index = read_archive(disk, path)
    packed = zstd.compress(data[:-8])
    starts = (0, len(packed))
    crc = frame.zlib.crc32(packed)
    disk.put(path, index._replace(starts=starts, data_crc=crc).encode(packed))
    with pytest.raises(JournalCorrupt, match="a compressed chunk has"):
        read_segment_file(disk, path)


def test_an_archive_of_a_later_format_is_refused():
    disk = MemoryDisk()
    archived(disk)
    path = archives(disk)[0]
    data = disk.get(path)
    at = data.index(b"SAGAARC\0")
    table = data.index(b"\x5e\x2a\x4d\x18", at)
    index = bytearray(data[at - 8 : table - 4])
    index[16] = 2
    crc = frame.zlib.crc32(data[table:], frame.zlib.crc32(bytes(index)))
    disk.put(path, data[: at - 8] + bytes(index) + crc.to_bytes(4, "little") + data[table:])
    with pytest.raises(JournalCorrupt, match="no archive of format 1"):
        read_archive(disk, path)


def test_the_last_segment_must_not_be_archived():
    disk = MemoryDisk()
    files, _ = archived(disk)
    files.close()
    disk.unlink(f"{PATHS.wal}/{wal(disk)[0]}")
    with pytest.raises(JournalCorrupt, match="names segment"):
        open_sample(disk)
    last = Segment(UUID, 1, 0, 1, 0, 5, bytes(16))
    lonely = MemoryDisk()
    open_sample(lonely).files.close()
    (name,) = wal(lonely)
    data = lonely.get(f"{PATHS.wal}/{name}")
    lonely.unlink(f"{PATHS.wal}/{name}")
    path = f"{PATHS.archive}/{last.name}.zst"
    lonely.put(path, encode_archive(path, data, 0, 0, {}))
    with pytest.raises(JournalCorrupt, match="the last one, is missing"):
        open_sample(lonely)


def test_an_archive_that_cannot_be_read_is_told_with_its_name():
    disk = FaultyDisk(MemoryDisk())
    files, positions = archived(disk)
    path = archives(disk)[0]
    disk.fail("open", errno.EIO, times=0)
    with pytest.raises(JournalError, match="Input/output error"):
        files.read_record(Position(positions[0], 0))
    with pytest.raises(JournalCorrupt, match=r"archive/.* cannot be read"):
        read_archive(disk, path)
    with pytest.raises(JournalCorrupt, match=r"archive/.* cannot be read"):
        read_segment_file(disk, path)


def test_a_damaged_segment_is_not_archived():
    disk = MemoryDisk()
    files, _ = filled(disk)
    path = f"{PATHS.wal}/{wal(disk)[0]}"
    data = bytearray(disk.get(path))
    data[200] ^= 1
    disk.put(path, bytes(data))
    with pytest.raises(JournalCorrupt, match="was not archived"):
        files.archive_next(EVERYTHING)
    assert disk.exists(path)
    assert not archives(disk)


# Crashes


def operations():
    """How many operations the archiving of one segment takes."""
    disk = FaultyDisk(MemoryDisk())
    files, _ = filled(disk)
    disk.trace.clear()
    files.archive_next(EVERYTHING)
    return len(disk.trace)


@pytest.mark.parametrize("index", range(operations()))
def test_whatever_instant_archiving_dies_at_nothing_is_lost_and_it_can_be_done_again(index):
    inner = MemoryDisk()
    disk = FaultyDisk(inner)
    files, _ = filled(disk)
    disk.kill(index)
    with pytest.raises(Killed):
        files.archive_next(EVERYTHING)
    inner.kill()
    for cut in (inner, inner.cut_power(), *(inner.cut_power(Random(n)) for n in range(10))):
        assert verified(cut.copy()) == WRITTEN
        again = open_sample(cut).files
        leftover = {path for path in cut.paths() if path.endswith(".tmp")}
        both = {path for path in archives(cut) if cut.exists(path.replace("archive", "wal")[:-4])}
        assert not leftover | both
        archive_all(again)
        assert bodies(again.scan()) == WRITTEN
        again.close()
        assert verified(cut) == WRITTEN


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("index", range(operations()))
def test_whatever_operation_of_archiving_fails_the_journal_goes_on(index, number):
    inner = MemoryDisk()
    disk = FaultyDisk(inner)
    files, _ = filled(disk)
    disk.fail_any(number, index)
    with contextlib.suppress(OSError, JournalError):
        files.archive_next(EVERYTHING)
    disk.heal()
    files.append([b"after"])
    assert bodies(files.scan()) == [*WRITTEN, b"after"]
    files.close()
    assert recovered(inner) == [*WRITTEN, b"after"]


def test_what_the_disk_does_not_keep_is_not_named():
    class Forgetful(MemoryDisk):
        def open(self, path, *, create=False):
            file = super().open(path, create=create)
            if path.endswith(".zst.tmp") and not create:
                file.inode.data[10] ^= 1
            return file

    disk = Forgetful()
    files, _ = filled(disk)
    with pytest.raises(JournalError, match="did not keep"):
        files.archive_next(EVERYTHING)
    assert not archives(disk)
    assert bodies(files.scan()) == WRITTEN


# Amended frames


def amended_sample():
    """An archive one of whose frames has another body, of the same length."""
    disk = MemoryDisk()
    files, positions = archived(disk)
    files.close()
    path = archives(disk)[0]
    _, data, _ = read_segment_file(disk, path)
    index = read_archive(disk, path)
    found = next(frame.walk(data, segment.HEADER_BYTES, index.segment.place))
    changed = bytearray(data)
    crc = frame.put_body(changed, found.offset, found.header, b"z" * len(found.body))
    amended = {found.offset: Amended(1, crc)}
    write_archive(disk, path, bytes(changed), index.last_crc, index.frames, amended)
    return disk, positions


def test_an_amended_frame_is_read_and_the_chain_of_headers_holds():
    disk, positions = amended_sample()
    expected = [b"z" * len(WRITTEN[0]), *WRITTEN[1:]]
    assert verified(disk) == expected
    files = open_sample(disk).files
    assert bodies(files.scan()) == expected
    assert next(one.count for one in files.scan()) == 1, "the header says 2"
    assert files.read_record(Position(positions[0], 0)) == expected[0]


def test_a_position_inside_an_amended_frame_is_no_place_of_a_frame():
    disk, positions = amended_sample()
    with pytest.raises(ValueError, match="no frame begins there"):
        open_sample(disk).files.read_record(Position(positions[0] + 8, 0))


# Repairs of a journal that the engine wrote and archived


def test_the_sample_is_archived_and_audited():
    assert len(archives(SAMPLE.disk)) > 1
    assert sum(1 for _ in Audit(SAMPLE.disk, DATA)) > 40


def test_a_journal_can_be_cut_in_an_archive_which_is_a_segment_then():
    chain = read_chain(SAMPLE.disk, PATHS)
    for one, following in pairwise(chain.segments):
        if not one.is_archived:
            continue
        for position in {*one.boundaries[-3:], one.boundaries[0]}:
            disk = SAMPLE.disk.copy()
            carry_out(disk, PATHS, plan_truncation(disk, PATHS, position))
            list(Audit(disk, DATA))
            assert read_chain(disk, PATHS).end == position
            assert following.path not in disk.paths()
            assert not disk.exists(one.path)
            files = open_journal(disk, DATA, now_ns=1).files
            files.close()


@pytest.mark.parametrize("saga_id", ["done1", "undone1", "refunded2"])
def test_a_saga_is_taken_out_of_archives_and_nothing_else_changes(saga_id):
    disk = SAMPLE.disk.copy()
    before = {one.record.saga_id for one in Audit(disk, DATA)}
    carry_out(disk, PATHS, plan_quarantine(disk, PATHS, frozenset({saga_id})))
    assert {one.record.saga_id for one in Audit(disk, DATA)} == before - {saga_id}
    chain = read_chain(disk, PATHS)
    assert any(one.amended for one in chain.segments)
    for position in [end for one in chain.segments if one.amended for end in one.boundaries[1:]]:
        cut = disk.copy()
        carry_out(cut, PATHS, plan_truncation(cut, PATHS, position))
        list(Audit(cut, DATA))


def test_a_damaged_archive_is_named_with_what_to_do():
    disk = SAMPLE.disk.copy()
    path = archives(disk)[0]
    data = bytearray(disk.get(path))
    data[5] ^= 3
    disk.put(path, bytes(data))
    with pytest.raises(JournalCorrupt) as caught:
        list(Audit(disk, DATA))
    found = diagnose(disk, PATHS, caught.value)
    assert found.file == path
    assert found.command == "sagakeep repair data --truncate-after 0"
    plan = plan_truncation(disk, PATHS, 0)
    assert [gap.path for gap in plan.gaps] == [path]
    assert not plan.complaint


def test_a_leftover_of_archiving_beside_its_segment_is_left_to_the_next_start():
    disk = MemoryDisk()
    files, _ = filled(disk)
    twin = disk.copy()
    files.archive_next(EVERYTHING)
    (path,) = archives(disk)
    twin.put(path, b"half of it")
    twin.put(f"{path}.tmp", b"half of it")
    assert read_layout(twin, PATHS).staged == (path, f"{path}.tmp")
    assert verified(twin) == WRITTEN
    assert len(read_chain(twin, PATHS).segments) == len(wal(twin))
    open_sample(twin)
    assert not archives(twin)


def test_files_of_others_among_the_archives_are_left_alone():
    disk = MemoryDisk()
    files, _ = filled(disk)
    files.close()
    strangers = [f"{PATHS.archive}/{name}" for name in ("notes.txt", "a.zst.tmp", wal(disk)[0])]
    for path in strangers:
        disk.put(path, b"mine")
    files = open_sample(disk).files
    archive_all(files)
    files.close()
    assert verified(disk) == WRITTEN
    assert [disk.get(path) for path in strangers] == [b"mine"] * 3


@pytest.mark.parametrize("opened", range(8))
def test_a_journal_that_is_archived_while_it_is_checked_is_whole(opened):
    class Moving(MemoryDisk):
        left = -1
        files = None

        def open(self, path, *, create=False):
            if path.endswith(".seg") and self.left >= 0:
                self.left -= 1
                if self.left < 0:
                    archive_all(self.files)
            return super().open(path, create=create)

    disk = Moving()
    disk.files, _ = filled(disk)
    disk.left = opened
    assert verified(disk) == WRITTEN
    assert archives(disk)


def test_a_segment_that_is_nowhere_is_told():
    disk = MemoryDisk()
    files, positions = filled(disk)
    disk.unlink(f"{PATHS.wal}/{wal(disk)[0]}")
    with pytest.raises(JournalError, match="cannot be read"):
        files.read_record(Position(positions[0], 0))


def test_archiving_makes_its_directory_where_there_is_none(tmp_path):
    root = tmp_path / "data"
    files = open_sample(LocalDisk(), str(root)).files
    for records in RECORDS:
        files.append(records)
    (root / "archive").rmdir()
    archive_all(files)
    assert len(list(root.glob("archive/*.seg.zst"))) > 2
    assert bodies(files.scan()) == WRITTEN
    files.close()


# Amending


def shout(body: bytes, offsets):
    """Put other bytes, as many, at the offsets."""
    changed = bytearray(body)
    for offset in offsets:
        changed[offset] ^= 1
    return bytes(changed)


def test_bodies_of_archives_are_changed_in_place_oldest_first_and_once():
    disk = MemoryDisk()
    files, positions = archived(disk)
    places = dict.fromkeys([positions[2], positions[0]], (0, 1))
    numbers = [one.number for one in files.amend(places, shout)]
    assert numbers == sorted(numbers)
    expected = [shout(body, (0, 1)) if at in (0, 2) else body for at, body in enumerate(WRITTEN)]
    assert bodies(files.scan()) == verified(disk) == expected
    assert files.read_record(Position(positions[0], 0)) == expected[0]
    before = {path: disk.get(path) for path in disk.paths()}
    assert list(files.amend({positions[0]: ()}, shout))
    assert {path: disk.get(path) for path in disk.paths()} == before, "nothing was to be changed"
    files.append([b"after"])
    files.close()
    assert recovered(disk) == [*expected, b"after"]


def test_a_place_at_which_no_frame_stands_is_told_and_changes_nothing():
    disk = MemoryDisk()
    files, positions = archived(disk)
    before = {path: disk.get(path) for path in disk.paths()}
    with pytest.raises(JournalCorrupt, match="no good frame stands here"):
        list(files.amend({positions[0]: (0,), positions[0] + 8: (0,)}, shout))
    assert {path: disk.get(path) for path in disk.paths()} == before


def amending():
    """The operations of amending two archives."""
    disk = FaultyDisk(MemoryDisk())
    files, positions = archived(disk)
    disk.trace.clear()
    list(files.amend({positions[0]: (0,), positions[2]: (0,)}, shout))
    return len(disk.trace)


@pytest.mark.parametrize("index", range(amending()))
def test_whatever_instant_amending_dies_at_each_archive_is_the_old_or_the_new_one(index):
    inner = MemoryDisk()
    disk = FaultyDisk(inner)
    files, positions = archived(disk)
    places = {positions[0]: (0,), positions[2]: (0,)}
    disk.kill(index)
    with pytest.raises(Killed):
        list(files.amend(places, shout))
    inner.kill()
    for cut in (inner, inner.cut_power(), *(inner.cut_power(Random(n)) for n in range(5))):
        found = verified(cut.copy())
        for at, (body, was) in enumerate(zip(found, WRITTEN, strict=True)):
            assert body in ((was, shout(was, (0,))) if at in (0, 2) else (was,))
        assert not (found[2] != WRITTEN[2] and found[0] == WRITTEN[0] and cut is inner)
        again = open_sample(cut).files
        assert not [path for path in cut.paths() if path.endswith(".tmp")]
        assert bodies(again.scan()) == found
        again.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("index", range(0, amending(), 2))
def test_whatever_operation_of_amending_fails_it_can_be_done_again(index, number):
    inner = MemoryDisk()
    disk = FaultyDisk(inner)
    files, positions = archived(disk)
    places = {positions[0]: (0,), positions[2]: (0,)}
    disk.fail_any(number, index)
    with contextlib.suppress(OSError, JournalError):
        list(files.amend(places, shout))
    disk.heal()
    for at in (0, 2):
        if files.read_record(Position(positions[at], 0)) == WRITTEN[at]:
            assert list(files.amend({positions[at]: (0,)}, shout))
    assert verified(inner) == [
        shout(body, (0,)) if at in (0, 2) else body for at, body in enumerate(WRITTEN)
    ]
