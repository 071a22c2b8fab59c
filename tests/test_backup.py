"""Backups and restores: one point, whole, whatever happens beside them and whatever instant they die at."""

from __future__ import annotations

import contextlib
import errno
import functools
from random import Random

import pytest
from corruption.sample import DATA, make_sample
from faulty_disk import FaultyDisk, Killed
from journal_samples import open_sample

from sagakeep.codec import encode_record
from sagakeep.errors import BackupRefused, JournalCorrupt, JournalError
from sagakeep.offline.audit import Audit
from sagakeep.offline.backup import take_backup
from sagakeep.offline.backup_note import BackupNote, read_backup
from sagakeep.offline.backup_view import BackupDisk
from sagakeep.offline.restore import restore_backup
from sagakeep.offline.salvage import read_chain
from sagakeep.offline.until import UntilPosition, UntilTime, parse_until
from sagakeep.runtime.journal_directory import Head, Paths
from sagakeep.runtime.journal_files import open_journal
from sagakeep.runtime.snapshot_file import read_newest_snapshot, snapshot_positions, write_snapshot
from sagakeep.simulation.disk import MemoryDisk

SAMPLE = make_sample(archive_behind_bytes=1)
BACKUP, RESTORED = "backup", "restored"


def audited(disk, directory=DATA):
    return [one.record for one in Audit(disk, directory)]


RECORDS = audited(SAMPLE.disk)
EARLIER = audited(SAMPLE.older[-1])


def backed_up(disk=None, **more):
    disk = SAMPLE.disk.copy() if disk is None else disk
    take_backup(disk, DATA, BACKUP, **more)
    return disk


def records_in_backup(disk):
    note = read_backup(disk, BACKUP)
    return audited(BackupDisk(disk, BACKUP, note.files), BACKUP)


def moved(disk, older):
    """The data directory of another disk, beside what is there."""
    for path in disk.paths():
        if path.startswith(f"{DATA}/"):
            disk.unlink(path)
            del disk.synced_names[path]
    for path in older.paths():
        disk.put(path, older.get(path))
    return disk


@functools.cache
def boundaries():
    chain = read_chain(SAMPLE.disk, Paths(DATA))
    return [end for one in chain.segments for end in one.boundaries]


# What is copied


def test_what_is_restored_is_what_was_backed_up_and_a_server_can_go_on_with_it():
    disk = SAMPLE.disk.copy()
    report = take_backup(disk, DATA, BACKUP)
    restored = restore_backup(disk, BACKUP, RESTORED)
    assert audited(disk, RESTORED) == RECORDS
    assert report.point == restored.point == restored.backup
    assert report.point.position == read_chain(disk, Paths(DATA)).end
    assert report.point.latest_us == round(RECORDS[-1].at_utc_s * 1e6)
    assert not restored.left_out
    assert any("archive/" in path for path in disk.paths() if path.startswith(RESTORED))
    assert snapshot_positions(disk, RESTORED) == snapshot_positions(disk, DATA)
    files = open_journal(disk, RESTORED, now_ns=1).files
    assert files.end_found == report.point.position
    files.close()
    assert audited(disk, RESTORED) == RECORDS


def test_the_source_is_not_changed():
    disk = backed_up()
    assert {path: disk.get(path) for path in disk.paths() if path.startswith(DATA)} == {
        path: SAMPLE.disk.get(path) for path in SAMPLE.disk.paths()
    }


def test_a_second_backup_copies_only_what_is_new():
    disk = moved(MemoryDisk(), SAMPLE.older[-1])
    first = take_backup(disk, DATA, BACKUP)
    again = take_backup(disk, DATA, BACKUP)
    assert again.copied_files == 0
    assert again.kept_files == first.copied_files
    moved(disk, SAMPLE.disk)
    last = take_backup(disk, DATA, BACKUP)
    assert records_in_backup(disk) == RECORDS
    assert 1 <= last.copied_files < last.kept_files
    named = {one.stored for one in read_backup(disk, BACKUP).files}
    assert {f"files/{name}" for name in disk.list(f"{BACKUP}/files")} == named


def test_a_journal_without_sagas_is_backed_up():
    disk = MemoryDisk()
    open_journal(disk, DATA, now_ns=1).files.close()
    report = take_backup(disk, DATA, BACKUP)
    assert report.point.sagas == report.point.latest_us == 0
    restore_backup(disk, BACKUP, RESTORED)
    assert audited(disk, RESTORED) == []


def test_a_journal_that_was_just_made_is_backed_up():
    """What a start that died before its first segment leaves."""
    disk = MemoryDisk()
    open_journal(disk, DATA, now_ns=1).files.close(clean=False)
    (name,) = disk.list(f"{DATA}/wal")
    disk.unlink(f"{DATA}/wal/{name}")
    note = disk.get(f"{DATA}/HEAD")
    uuid = note.split()[1].decode()
    disk.put(f"{DATA}/HEAD", Head(bytes.fromhex(uuid), 0, 0).encode())
    assert take_backup(disk, DATA, BACKUP).point.position == 0


def test_a_torn_tail_is_left_out():
    disk = SAMPLE.disk.copy()
    last = max(path for path in disk.paths() if path.endswith(".seg"))
    data = disk.get(last)
    disk.put(last, data[: len(data.rstrip(b"\0"))] + bytes(8) + b"\xff" * 9)
    backed_up(disk)
    assert records_in_backup(disk) == RECORDS


# Until


def test_a_copy_ends_at_the_last_frame_that_is_not_beyond_the_position():
    disk = backed_up()
    whole = boundaries()
    for number, end in enumerate(whole[2::5]):
        expected = None
        for position in (end, end + 8):
            before = max(one for one in whole if one <= position)
            directory = f"{RESTORED}{number}-{position}"
            report = restore_backup(disk, BACKUP, directory, UntilPosition(position))
            assert report.point.position == before
            assert report.left_out is (before < whole[-1])
            found = audited(disk, directory)
            assert found == RECORDS[: len(found)]
            expected = expected or len(found)
            open_journal(disk, directory, now_ns=1).files.close()
    for until in (UntilPosition(1 << 40), UntilTime(1e12)):
        disk = backed_up()
        assert restore_backup(disk, BACKUP, RESTORED, until).point.position == whole[-1]


def test_a_copy_ends_before_the_first_frame_with_a_later_record():
    disk = backed_up()
    times = sorted({round(record.at_utc_s * 1e6) for record in RECORDS})
    for number, until_us in enumerate(times[::7]):
        directory = f"{RESTORED}{number}"
        restore_backup(disk, BACKUP, directory, UntilTime(until_us / 1e6))
        found = audited(disk, directory)
        assert found == RECORDS[: len(found)]
        assert all(round(record.at_utc_s * 1e6) <= until_us for record in found)
        assert round(RECORDS[len(found)].at_utc_s * 1e6) > until_us or found == RECORDS
        end = read_chain(disk, Paths(directory)).end
        assert all(one <= end for one in snapshot_positions(disk, directory))


def test_a_backup_can_end_earlier_too_and_has_no_more_files_than_it_names():
    whole = boundaries()
    disk = backed_up(until=UntilPosition(whole[len(whole) // 2]))
    found = records_in_backup(disk)
    assert found == RECORDS[: len(found)]
    note = read_backup(disk, BACKUP)
    assert note.point.position == whole[len(whole) // 2]
    assert {f"files/{name}" for name in disk.list(f"{BACKUP}/files")} == {
        one.stored for one in note.files
    }
    later = take_backup(disk, DATA, BACKUP)
    assert later.point.position == whole[-1]
    assert records_in_backup(disk) == RECORDS


@pytest.mark.parametrize("until", [UntilPosition(5), UntilTime(5.0)])
def test_nothing_is_no_copy(until):
    disk = backed_up()
    with pytest.raises(BackupRefused, match="no record that is so old"):
        restore_backup(disk, BACKUP, RESTORED, until)
    with pytest.raises(BackupRefused, match="no record that is so old"):
        take_backup(disk, DATA, BACKUP, until)
    assert records_in_backup(disk) == RECORDS


def test_an_end_is_a_position_or_a_time_with_its_zone():
    assert parse_until("12") == UntilPosition(12)
    assert parse_until("2026-01-31T12:00:00z") == UntilTime(1769860800.0)
    for text in ("", "-1", "noon", "2026-01-31T12:00:00", "²"):
        with pytest.raises(ValueError, match="expected a position of the journal, or a time"):
            parse_until(text)


# Refusals


def test_a_directory_that_is_used_for_something_else_is_refused():
    disk = SAMPLE.disk.copy()
    disk.put("mine/letter.txt", b"dear")
    with pytest.raises(BackupRefused, match=r"mine: is no backup, and has letter\.txt in it"):
        take_backup(disk, DATA, "mine")
    with pytest.raises(BackupRefused, match="is no backup"):
        take_backup(disk, DATA, DATA)
    backed_up(disk)
    with pytest.raises(BackupRefused, match=r"mine: is not empty, it has letter\.txt"):
        restore_backup(disk, BACKUP, "mine")
    with pytest.raises(BackupRefused, match="nothing is overwritten"):
        restore_backup(disk, BACKUP, DATA)
    with pytest.raises(BackupRefused, match="is no backup"):
        restore_backup(disk, DATA, RESTORED)
    assert audited(disk) == RECORDS


def test_the_backup_of_another_journal_is_not_replaced():
    disk = backed_up()
    open_journal(disk, "other", now_ns=1).files.close()
    with pytest.raises(BackupRefused, match="is the backup of another journal"):
        take_backup(disk, "other", BACKUP)
    assert records_in_backup(disk) == RECORDS


def test_a_backup_that_reaches_further_is_not_replaced():
    disk = backed_up()
    moved(disk, SAMPLE.older[-1])
    with pytest.raises(BackupRefused, match="which is further than"):
        take_backup(disk, DATA, BACKUP)
    assert records_in_backup(disk) == RECORDS


def test_no_journal_is_no_backup():
    with pytest.raises(JournalError, match="there is no journal here"):
        take_backup(MemoryDisk(), DATA, BACKUP)


def test_two_backups_into_one_directory_at_a_time_are_refused():
    disk = SAMPLE.disk.copy()
    lock = disk.lock(f"{BACKUP}/LOCK")
    with pytest.raises(BackupRefused, match=r"it is in use: .* is locked by process"):
        take_backup(disk, DATA, BACKUP)
    lock.release()
    backed_up(disk)
    lock = disk.lock(f"{RESTORED}/LOCK")
    with pytest.raises(BackupRefused, match=r"it is in use: .* is locked by process"):
        restore_backup(disk, BACKUP, RESTORED)


def test_a_damaged_journal_does_not_replace_a_good_backup():
    disk = backed_up()
    path = next(path for path in disk.paths() if path.startswith(f"{DATA}/archive"))
    data = bytearray(disk.get(path))
    data[20] ^= 1
    disk.put(path, bytes(data))
    with pytest.raises(
        BackupRefused, match=r"(?s)what was copied is damaged.*sagakeep verify data"
    ):
        take_backup(disk, DATA, BACKUP)
    assert records_in_backup(disk) == RECORDS


def test_a_damaged_file_of_a_backup_is_told_and_the_next_backup_copies_it_again():
    disk = backed_up()
    for one in read_backup(disk, BACKUP).files:
        stored = f"{BACKUP}/{one.stored}"
        data = disk.get(stored)
        for changed in (data[:-1], data[:-1] + bytes([data[-1] ^ 1])):
            disk.put(stored, changed)
            with pytest.raises(BackupRefused, match="the backup is damaged"):
                restore_backup(disk, BACKUP, RESTORED)
        assert take_backup(disk, DATA, BACKUP).copied_files == 1
        assert disk.get(stored) == data
    restore_backup(disk, BACKUP, RESTORED)
    assert audited(disk, RESTORED) == RECORDS


def test_a_backup_that_never_was_whole_is_not_restored():
    """Its sums are right and its journal is not."""
    disk = backed_up()
    note = read_backup(disk, BACKUP)
    files = tuple(one for one in note.files if "archive/" not in one.path)
    disk.put(f"{BACKUP}/BACKUP", note._replace(files=files).encode())
    with pytest.raises(BackupRefused, match="what was restored of it is damaged"):
        restore_backup(disk, BACKUP, RESTORED)
    with pytest.raises(JournalError, match="a restore was interrupted"):
        open_journal(disk, RESTORED, now_ns=1)


def test_a_damaged_note_is_told():
    disk = backed_up()
    note = disk.get(f"{BACKUP}/BACKUP")
    disk.put(f"{BACKUP}/BACKUP", note.replace(b"live", b"live "))
    with pytest.raises(BackupRefused, match="its crc is wrong"):
        restore_backup(disk, BACKUP, RESTORED)
    found = BackupNote("x", *read_backup(backed_up(), BACKUP)[1:])
    disk.put(f"{BACKUP}/BACKUP", found.encode())
    with pytest.raises(BackupRefused, match="no note of a backup that this version reads"):
        take_backup(disk, DATA, BACKUP)


def test_a_backup_is_only_read():
    disk = backed_up()
    view = BackupDisk(disk, BACKUP, read_backup(disk, BACKUP).files)
    assert view.free_bytes(BACKUP) == disk.free_bytes(BACKUP)
    writes = [
        functools.partial(view.open, "x", create=True),
        *(functools.partial(call, "x") for call in (view.make_directory, view.unlink, view.lock)),
        functools.partial(view.rename, "x", "y"),
        functools.partial(view.sync_directory, "x"),
    ]
    for write in writes:
        with pytest.raises(OSError, match="only read"):
            write()
    with pytest.raises(FileNotFoundError):
        view.open(f"{BACKUP}/wal/none")


# Crashes


def small():
    """A disk with a short journal with archives, and a shorter one of the same that is backed up already."""
    disk = SAMPLE.disk.copy()
    bases = [one.segment.base for one in read_chain(disk, Paths(DATA)).segments]
    backed_up(disk, until=UntilPosition(bases[2] + 600))
    restore_backup(disk, BACKUP, RESTORED)
    short = MemoryDisk()
    for path in disk.paths():
        if path.startswith(f"{RESTORED}/"):
            short.put(path.replace(RESTORED, DATA, 1), disk.get(path))
    return short


SMALL = small()
SMALL_RECORDS = audited(SMALL)


def with_older_backup():
    disk = SMALL.copy()
    backed_up(disk, until=UntilPosition(read_chain(disk, Paths(DATA)).segments[0].ends[-3]))
    return disk


def count_operations(disk, work):
    faulty = FaultyDisk(disk)
    work(faulty)
    return len(faulty.trace)


def again(disk):
    take_backup(disk, DATA, BACKUP)


OLDER_RECORDS = records_in_backup(with_older_backup())


@pytest.mark.parametrize("index", range(count_operations(with_older_backup(), again)))
def test_whatever_instant_a_backup_dies_at_the_one_before_or_the_new_one_is_whole(index):
    inner = with_older_backup()
    disk = FaultyDisk(inner)
    disk.kill(index)
    with pytest.raises(Killed):
        again(disk)
    inner.kill()
    for cut in (inner, inner.cut_power(), inner.cut_power(Random(index))):
        assert records_in_backup(cut) in (OLDER_RECORDS, SMALL_RECORDS)
    again(inner)
    assert records_in_backup(inner) == SMALL_RECORDS
    assert not [path for path in inner.paths() if path.endswith(".tmp")]


@pytest.mark.parametrize("index", range(0, count_operations(with_older_backup(), again), 3))
def test_whatever_operation_of_a_backup_fails_the_one_before_or_the_new_one_is_whole(index):
    inner = with_older_backup()
    disk = FaultyDisk(inner)
    disk.fail_any(errno.EIO, index)
    with contextlib.suppress(OSError, JournalError):
        again(disk)
    assert records_in_backup(inner) in (OLDER_RECORDS, SMALL_RECORDS)
    disk.heal()
    again(disk)
    assert records_in_backup(inner) == SMALL_RECORDS


def restored(disk):
    restore_backup(disk, BACKUP, RESTORED)


def restorable():
    disk = SMALL.copy()
    again(disk)
    return disk


@pytest.mark.parametrize("index", range(count_operations(restorable(), restored)))
def test_whatever_instant_a_restore_dies_at_no_server_starts_on_half_of_it(index):
    inner = restorable()
    disk = FaultyDisk(inner)
    disk.kill(index)
    with pytest.raises(Killed):
        restored(disk)
    inner.kill()
    for cut in (inner, inner.cut_power(), inner.cut_power(Random(index))):
        here = [path for path in cut.paths() if path.startswith(f"{RESTORED}/")]
        if f"{RESTORED}/RESTORE" in here:
            with pytest.raises(JournalError, match="a restore was interrupted"):
                open_journal(cut.copy(), RESTORED, now_ns=1)
        elif f"{RESTORED}/FORMAT" in here:
            assert audited(cut, RESTORED) == SMALL_RECORDS
            continue
        else:
            assert not [path for path in here if "/wal/" in path or "/archive/" in path]
        restored(cut)
        assert audited(cut, RESTORED) == SMALL_RECORDS


# Beside a server


class Busy(FaultyDisk):
    """Lets something happen before the operation with an index."""

    def __init__(self, inner, index, happen):
        super().__init__(inner)
        self.index = index
        self.happen = happen

    def note(self, *words):
        if len(self.trace) == self.index:
            self.happen()
        super().note(*words)


def more_records(count):
    """Records that may follow: sagas of their own, live ones."""
    first = next(record for record in RECORDS if record.sequence == 1)
    return [
        first.__class__(f"more{n}", 1, first.at_utc_s, None, first.events[:1]) for n in range(count)
    ]


def served():
    """A server on a journal whose segments are sealed and none archived; what it does then, all at once."""
    disk = SMALL.copy()
    for path in snapshot_positions(disk, DATA):
        disk.unlink(f"{DATA}/snap/{path:016x}.snap")
    files = open_sample(disk, segment_bytes=2048).files

    def happen():
        for record in more_records(4):
            files.append([encode_record(record)])
        while files.archive_next(files.position):
            pass
        files.append([encode_record(more_records(5)[-1])])

    return disk, happen


def count_busy():
    disk, _ = served()
    return count_operations(disk, again)


@pytest.mark.parametrize("index", range(count_busy()))
def test_a_server_may_write_roll_and_archive_at_any_instant_of_a_backup(index):
    disk, happen = served()
    take_backup(Busy(disk, index, happen), DATA, BACKUP)
    found = records_in_backup(disk)
    assert found == audited(disk)[: len(found)]
    assert len(found) >= len(SMALL_RECORDS)
    assert not [path for path in disk.paths() if path.endswith(".tmp")]


@pytest.mark.parametrize("index", range(0, count_operations(SAMPLE.disk.copy(), again), 5))
def test_snapshots_may_come_and_go_at_any_instant_of_a_backup(index):
    disk = SAMPLE.disk.copy()
    newest, oldest = snapshot_positions(disk, DATA)
    chunks = read_newest_snapshot(disk, DATA).chunks

    def happen():  # what a snapshot leaves
        disk.unlink(f"{DATA}/snap/{oldest:016x}.snap")
        write_snapshot(disk, DATA, newest, chunks)

    take_backup(Busy(disk, index, happen), DATA, BACKUP)
    assert records_in_backup(disk) == RECORDS


def test_a_journal_that_never_stands_still_is_given_up():
    disk = SAMPLE.disk.copy()

    class Restless(FaultyDisk):
        def open(self, path, *, create=False):
            if path.startswith(f"{DATA}/snap/"):
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            return super().open(path, create=create)

    with pytest.raises(JournalError, match="changes faster than it can be copied"):
        take_backup(Restless(disk), DATA, BACKUP)


def test_damage_is_no_race():
    disk = SMALL.copy()
    path = next(path for path in disk.paths() if path.startswith(f"{DATA}/archive"))
    disk.put(path, disk.get(path)[:-1])
    with pytest.raises(JournalCorrupt):
        take_backup(disk, DATA, BACKUP)
