"""Whatever happened to the files: what was acknowledged is there, or the start is refused."""

from __future__ import annotations

import errno
import subprocess
import sys
from itertools import count, pairwise, product
from pathlib import Path
from random import Random

import pytest
from faulty_disk import Fault, FaultyDisk, Killed
from journal_samples import (
    DATA,
    UUID,
    bodies,
    open_sample,
    recovered,
    segment_paths,
    verified,
    write_journal,
)

from sagakeep.errors import DiskFull, JournalBroken, JournalCorrupt, JournalError
from sagakeep.runtime import frame, segment
from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.frame import Sight
from sagakeep.runtime.journal_directory import Format, Head, Paths, read_head
from sagakeep.runtime.journal_files import open_journal, verify_journal
from sagakeep.runtime.journal_tail import CORRUPT, END, TORN, judge_tail
from sagakeep.simulation.disk import MemoryDisk

SMALL = [b"first record", b"second", bytes(260), b"the last one"]
ENDS = [128]  # of each frame of SMALL in its segment
for _body in SMALL:
    ENDS.append(ENDS[-1] + len(frame.encode(_body, 1, 0, frame.Place(0, 0, 0, 0))[0]))


def small_journal(*, preallocated: bool) -> tuple[MemoryDisk, str]:
    """Return a journal of one segment that was not closed, and its path."""
    disk = MemoryDisk()
    write_journal(disk, [[body] for body in SMALL])
    (path,) = segment_paths(disk)
    if not preallocated:
        disk.put(path, disk.get(path)[: ENDS[-1]])
    return disk, path


def long_journal() -> tuple[MemoryDisk, list[bytes]]:
    """Return a journal of several segments and several starts, not closed, and its bodies."""
    disk, contents = MemoryDisk(), [bytes([97 + index]) * 300 for index in range(8)]
    for start in range(0, 8, 4):
        write_journal(disk, [[body] for body in contents[start : start + 4]], clean=start == 0)
    return disk, contents


def edited(disk: MemoryDisk, path: str, data: bytes) -> MemoryDisk:
    twin = disk.copy()
    twin.put(path, data)
    return twin


def refused(disk: MemoryDisk) -> JournalCorrupt:
    """Demand that both the start and the check refuse, with the same words, and that nothing is changed."""
    before = {path: disk.get(path) for path in disk.paths()}
    with pytest.raises(JournalCorrupt) as opening:
        open_sample(disk)
    with pytest.raises(JournalCorrupt) as checking:
        verified(disk)
    assert str(checking.value) == str(opening.value)
    assert before == {path: disk.get(path) for path in disk.paths()}
    return opening.value


# What the table says, row by row.

NOTHING = Sight(128, 128, None, False, False, False, False, True)


@pytest.mark.parametrize(
    ("sight", "last", "earlier"),
    [
        (NOTHING, END, END),
        (NOTHING._replace(live_end=500, later_frame=300), CORRUPT, CORRUPT),
        (NOTHING._replace(live_end=500, header=True), CORRUPT, CORRUPT),
        (Sight(128, 500, None, True, True, True, False, False), TORN, CORRUPT),
        (Sight(128, 500, None, True, True, False, True, False), TORN, CORRUPT),
        (NOTHING._replace(live_end=500), TORN, CORRUPT),
        (Sight(128, 500, None, True, True, False, False, False), CORRUPT, CORRUPT),
        (Sight(128, 500, None, False, False, False, False, False), CORRUPT, CORRUPT),
        (Sight(128, 500, 300, True, True, True, True, False), CORRUPT, CORRUPT),
        (Sight(128, 500, None, True, False, True, True, False), CORRUPT, CORRUPT),
    ],
)
def test_the_table_decides(sight: Sight, last: object, earlier: object) -> None:
    assert judge_tail(sight, last=True).verdict is last
    assert judge_tail(sight, last=False).verdict is earlier


# Interrupted writes: exactly the durable prefix remains.


@pytest.mark.parametrize("preallocated", [False, True])
def test_a_cut_at_every_byte_leaves_exactly_the_frames_before_it(preallocated: bool) -> None:
    disk, path = small_journal(preallocated=preallocated)
    data = disk.get(path)
    for length in range(128, len(data) + 1):
        whole = sum(end <= length for end in ENDS[1:])
        cut = edited(disk, path, data[:length])
        assert verified(cut) == SMALL[:whole]
        assert recovered(cut) == SMALL[:whole]
        assert recovered(cut) == SMALL[:whole]


def test_a_segment_in_use_without_its_header_is_refused() -> None:
    disk, path = small_journal(preallocated=True)
    for length in range(128):
        assert "header" in refused(edited(disk, path, disk.get(path)[:length])).reason


def test_a_write_torn_at_every_byte_of_a_preallocated_file_is_cut() -> None:
    disk, path = small_journal(preallocated=True)
    data = disk.get(path)
    for first, end in pairwise(ENDS):
        kept = SMALL[: ENDS.index(first)]
        for torn in range(first, end):
            twin = edited(disk, path, data[:torn] + bytes(len(data) - torn))
            assert recovered(twin) == kept


@pytest.mark.parametrize("offset", [128, 464, 472, 480, 488, 496, 504, 512, 520])
def test_every_subset_of_sectors_of_the_last_frame_is_cut_or_whole(offset: int) -> None:
    disk = MemoryDisk()
    fill = b"f" * (offset - 128 - 44)  # the first frame ends where the last shall begin
    last = bytes(range(1, 256)) * 8
    files = open_sample(disk, segment_bytes=8192).files
    if fill:
        files.append([fill])
    first = files.append([last])
    assert first == offset
    files.close(clean=False)
    (path,) = segment_paths(disk)
    data = disk.get(path)
    end = files.position
    sectors = range(first // 512, (end - 1) // 512 + 1)
    for arrived in product((False, True), repeat=len(sectors)):
        torn = bytearray(data)
        for sector, here in zip(sectors, arrived, strict=True):
            if not here:
                at, after = max(first, sector * 512), min(end, sector * 512 + 512)
                torn[at:after] = bytes(after - at)
        found = recovered(edited(disk, path, bytes(torn)))
        assert found == [body for body in (fill, last if all(arrived) else b"") if body]


def test_cut_bytes_are_kept_aside_and_reported() -> None:
    disk, path = small_journal(preallocated=True)
    data = disk.get(path)
    torn = edited(disk, path, data[: ENDS[3] + 50] + bytes(len(data) - ENDS[3] - 50))
    verification = verify_journal(torn, DATA)
    assert bodies(verification) == SMALL[:3]
    assert verification.torn_bytes == 50
    assert "the end of the frame never arrived" in verification.notes[0]
    report = open_sample(torn).report
    name = f"{DATA}/quarantine/0000000000000001-{ENDS[3]:08x}.torn"
    assert report[:6] == (False, 1, 3, 50, name, True)
    assert report.notes == verification.notes
    assert torn.get(name) == data[ENDS[3] : ENDS[3] + 50]
    assert torn.get(path) == data[: ENDS[3]]


def test_a_stray_byte_in_the_unused_room_is_cut_or_refused_and_no_frame_is_lost() -> None:
    disk, path = small_journal(preallocated=True)
    data = disk.get(path)
    for at in range(ENDS[-1], len(data)):
        stray = edited(disk, path, data[:at] + b"\1" + data[at + 1 :])
        if at + 1 < ENDS[-1] + frame.HEADER_BYTES:
            assert recovered(stray) == SMALL
        else:
            assert refused(stray).offset == ENDS[-1]


def test_forged_frames_in_a_payload_never_refuse_a_start() -> None:
    disk = MemoryDisk()
    files = open_sample(disk, segment_bytes=8192).files
    files.append([b"acknowledged"])
    first = files.position
    forged = b""
    for index in range(24):
        place = frame.Place(0, 0, 1, index)  # all right but the salt, which nobody knows
        forged += frame.encode(b"forged", 1, first + 40 + len(forged), place)[0]
    files.append([forged])
    end = files.position
    files.close(clean=False)
    (path,) = segment_paths(disk)
    data = disk.get(path)
    for torn in range(first, end):
        found = recovered(edited(disk, path, data[:torn] + bytes(len(data) - torn)))
        assert found == [b"acknowledged"]
    assert recovered(disk) == [b"acknowledged", forged]


def test_zeros_in_an_acknowledged_frame_do_not_make_a_flip_look_torn() -> None:
    for ones in (0, 1, 2, 7):
        body = bytearray(2048)
        for index in range(ones):
            body[(index + 1) * 2048 // (ones + 1)] = 1
        disk = MemoryDisk()
        files = open_sample(disk, segment_bytes=8192).files
        files.append([bytes(body)])
        end = files.position
        files.close(clean=False)
        (path,) = segment_paths(disk)
        data = disk.get(path)
        for bit in range(128 * 8, end * 8):
            if data[bit // 8]:
                refused(edited(disk, path, flip(data, bit)))


# Damage: refused, with the place.


def flip(data: bytes, bit: int) -> bytes:
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


@pytest.mark.parametrize("preallocated", [False, True])
def test_every_flipped_bit_of_every_frame_is_refused_at_its_frame(preallocated: bool) -> None:
    disk, path = small_journal(preallocated=preallocated)
    data = disk.get(path)
    for bit in range(ENDS[-1] * 8):
        error = refused(edited(disk, path, flip(data, bit)))
        assert error.file == path
        assert error.offset == max([0, *(end for end in ENDS[:-1] if end <= bit // 8)])


def test_every_flipped_bit_of_a_closed_journal_and_its_notes_is_refused() -> None:
    disk = MemoryDisk()
    write_journal(disk, [[b"one"], [b"two"]], clean=True)
    for path in disk.paths():
        data = disk.get(path)
        for bit in range(len(data) * 8):
            assert refused(edited(disk, path, flip(data, bit))).file == path


def test_flipped_bits_in_each_of_several_segments_are_refused() -> None:
    disk, _ = long_journal()
    random = Random(1)
    for path in segment_paths(disk)[:-1]:
        data = disk.get(path)
        for _ in range(300):
            refused(edited(disk, path, flip(data, random.randrange(len(data) * 8))))


def test_an_earlier_segment_cut_at_any_byte_is_refused_unless_only_zeros_are_gone() -> None:
    disk, contents = long_journal()
    for path in segment_paths(disk)[:-1]:
        data = disk.get(path)
        live = len(data.rstrip(b"\0"))
        for length in range(0, len(data), 3):
            twin = edited(disk, path, data[:length])
            if length < live:
                assert refused(twin).file == path
            else:
                assert verified(twin) == contents


@pytest.mark.parametrize("index", range(4))
def test_a_missing_segment_is_refused(index: int) -> None:
    disk, _ = long_journal()
    del disk.names[segment_paths(disk)[index]]
    refused(disk)


def test_swapped_duplicated_and_misplaced_segments_are_refused() -> None:
    disk, _ = long_journal()
    paths = segment_paths(disk)
    assert len(paths) == 4
    for one, other in product(paths, paths):
        if one != other:
            refused(edited(disk, one, disk.get(other)))
            swapped = edited(disk, one, disk.get(other))
            swapped.put(other, disk.get(one))
            refused(swapped)
    extra = disk.copy()
    extra.put(f"{DATA}/wal/{2:016x}-{0:016x}.seg", disk.get(paths[1]))
    refused(extra)


def test_a_swapped_dropped_or_repeated_frame_is_refused() -> None:
    disk, path = small_journal(preallocated=True)
    data = disk.get(path)
    pieces = [data[first:end] for first, end in pairwise(ENDS)]
    for order in ([0, 2, 3], [1, 2, 3], [0, 1, 1, 2, 3], [0, 0], [1, 0, 2, 3], [0, 1, 3, 2]):
        mixed = data[:128] + b"".join(pieces[index] for index in order) + bytes(400)
        refused(edited(disk, path, mixed))


def test_a_segment_of_another_journal_is_refused() -> None:
    disk, path = small_journal(preallocated=True)
    other = MemoryDisk()
    journal = open_journal(
        other, DATA, now_ns=1, segment_bytes=1024, uuid=lambda: b"other" * 3 + b"!"
    )
    journal.files.close()
    assert "another journal" in refused(edited(disk, path, other.get(path))).reason
    head = edited(disk, f"{DATA}/HEAD", other.get(f"{DATA}/HEAD"))
    assert "another journal" in refused(head).reason


def test_a_segment_of_another_salt_chain_or_epoch_is_refused() -> None:
    disk, _ = long_journal()
    paths = segment_paths(disk)
    last = disk.get(paths[-1])
    header = segment.decode(last, paths[-1])
    for wrong in (
        header._replace(previous_crc=header.previous_crc ^ 1),
        header._replace(epoch=1),
        header._replace(salt=bytes(16)),
    ):
        refused(edited(disk, paths[-1], wrong.encode() + last[128:]))
    for wrong in (header._replace(epoch=0), header._replace(previous_crc=header.previous_crc ^ 1)):
        empty = edited(disk, paths[-1], wrong.encode() + bytes(500))
        assert "followed another one" in refused(empty).reason


def test_an_older_head_or_format_put_back_is_refused() -> None:
    disk, _ = long_journal()
    head = read_head(disk, Paths(DATA))
    assert head is not None
    older = Head(UUID, head.segment - 1, head.base)
    assert (
        "but HEAD ends at segment 3" in refused(edited(disk, f"{DATA}/HEAD", older.encode())).reason
    )
    moved = Head(UUID, head.segment, head.base + 8)
    assert "names base" in refused(edited(disk, f"{DATA}/HEAD", moved.encode())).reason
    for name, words in (("HEAD", "is missing"), ("FORMAT", "yet there are segments")):
        without = disk.copy()
        del without.names[f"{DATA}/{name}"]
        with pytest.raises(JournalCorrupt, match=words):
            open_sample(without)
    emptied = disk.copy()
    for path in [*segment_paths(disk), f"{DATA}/FORMAT"]:
        del emptied.names[path]
    with pytest.raises(JournalCorrupt, match="yet there are segments"):
        open_sample(emptied)


def test_notes_of_another_kind_or_a_newer_format_are_refused() -> None:
    disk, _ = small_journal(preallocated=True)
    form, head = f"{DATA}/FORMAT", f"{DATA}/HEAD"
    assert "format note" in refused(edited(disk, form, disk.get(head))).reason
    assert "head note" in refused(edited(disk, head, disk.get(form))).reason
    assert "crc" in refused(edited(disk, head, b"\xff" + disk.get(head))).reason
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sagakeep.runtime.journal_directory.VERSION", 2)
        newer = Format(UUID, 1).encode()
    with pytest.raises(JournalError, match="has format 2, this version of sagakeep reads 1"):
        open_sample(edited(disk, form, newer))


def test_a_disk_that_cannot_read_is_refused_with_the_files_name() -> None:
    disk, path = small_journal(preallocated=True)
    faulty = FaultyDisk(disk)
    faulty.fail("pread 0", errno.EIO)
    with pytest.raises(JournalCorrupt, match="cannot be read") as caught:
        open_sample(faulty)
    assert caught.value.file == path


# What may lie around.


def test_foreign_files_are_noted_and_left_alone() -> None:
    disk, _ = small_journal(preallocated=True)
    disk.put(f"{DATA}/wal/notes.txt", b"mine")
    disk.put(f"{DATA}/index.sqlite", b"derived")
    assert "notes.txt" in open_sample(disk).report.notes[0]
    assert disk.get(f"{DATA}/wal/notes.txt") == b"mine"


def test_a_segment_that_was_only_prepared_is_removed() -> None:
    for length in (0, 60, 128, 1024):
        disk, path = small_journal(preallocated=True)
        following = segment.decode(disk.get(path), path)._replace(number=2, base=ENDS[-1])
        prepared = f"{DATA}/wal/{following.name}"
        disk.put(prepared, following.encode().ljust(1024, b"\0")[:length])
        disk.put(f"{path}.tmp", b"half a rewrite")
        assert verified(disk) == SMALL
        assert recovered(disk) == SMALL
        assert f"{path}.tmp" not in disk.paths()
        assert disk.get(prepared)[:128] != following.encode()


def test_a_segment_prepared_for_a_later_position_proves_that_frames_are_lost() -> None:
    disk, path = small_journal(preallocated=True)
    disk.put(f"{DATA}/wal/{2:016x}-{ENDS[-1]:016x}.seg", b"")
    data = disk.get(path)
    lost = edited(disk, path, data[: ENDS[3]] + bytes(len(data) - ENDS[3]))
    assert "was to begin at" in refused(lost).reason


def test_a_directory_without_a_journal_cannot_be_verified() -> None:
    with pytest.raises(JournalError, match="there is no journal here"):
        verified(MemoryDisk())


def test_a_start_that_was_interrupted_before_its_first_segment_is_not_fresh() -> None:
    disk = FaultyDisk(MemoryDisk())
    disk.fail("allocate", errno.ENOSPC)
    with pytest.raises(DiskFull):
        open_sample(disk)
    assert verified(disk) == []
    assert open_sample(disk).report == (False, 0, 0, 0, "", True, ())


@pytest.mark.parametrize("fails", [False, True], ids=["killed", "failed"])
def test_a_mark_of_a_clean_end_that_was_not_synced_is_not_built_upon(fails: bool) -> None:
    """It was read from the page cache; once the next segment counts on it, a power cut must not take it."""
    memory = MemoryDisk()
    disk = FaultyDisk(memory)
    files = open_sample(disk).files
    files.append([b"x"])
    if fails:
        disk.fail("fdatasync", errno.EIO)
    else:
        disk.faults.append(Fault(lambda line: line.startswith("fdatasync"), Killed, times=0))
    with pytest.raises((JournalBroken, Killed)):
        files.close()
    if fails:
        (path,) = segment_paths(memory)
        memory.names[path].clean = bytes(memory.names[path].data)  # and no later fsync writes it
    memory.kill()
    write_journal(memory, [[b"y"]], clean=False)
    assert recovered(memory.cut_power()) == [b"x", b"y"]


def test_the_last_segment_is_written_anew_at_every_start() -> None:
    disk, path = small_journal(preallocated=True)
    faulty = FaultyDisk(disk)
    files = open_sample(faulty).files
    name = path.rpartition("/")[2]
    rewrite = [f"fsync {name}.tmp", f"rename {name}.tmp {name}", "sync_directory wal"]
    at = faulty.trace.index(rewrite[0])
    assert faulty.trace[at : at + 3] == rewrite
    assert not any(line.startswith("create 0000000000000002") for line in faulty.trace[:at])
    assert len(disk.get(path)) == ENDS[-1]
    files.close()
    del faulty.trace[:]
    open_sample(faulty).files.close()
    assert sum(".seg.tmp" in line for line in faulty.trace if line.startswith("rename")) == 1


def test_every_start_begins_a_segment_of_the_next_epoch() -> None:
    disk = MemoryDisk()
    for _ in range(4):
        write_journal(disk, [[b"x"]], clean=False)
    headers = [segment.decode(disk.get(path), path) for path in segment_paths(disk)]
    assert [header.epoch for header in headers] == [1, 2, 3, 4]
    assert [header.number for header in headers] == [1, 2, 3, 4]
    assert len({frame.seed_of(header.salt) for header in headers}) >= 1


# A server that writes while the check reads.


class MovingDisk(FaultyDisk):
    """Lets something happen once, just before an operation."""

    def __init__(self, inner: MemoryDisk, before: str, happens: object) -> None:
        super().__init__(inner)
        self.before = before
        self.happens = happens

    def note(self, *words: str) -> None:
        super().note(*words)
        if self.trace[-1].startswith(self.before) and callable(self.happens):
            happens, self.happens = self.happens, None
            happens()


def test_a_roll_during_the_check_is_no_damage() -> None:
    disk = MemoryDisk()
    files = open_sample(disk).files
    files.append([b"a" * 600])
    moving = MovingDisk(disk, "list", lambda: files.append([b"b" * 600]))
    assert verified(moving) == [b"a" * 600, b"b" * 600]
    files.close()


def test_a_frame_that_is_written_while_it_is_read_is_no_damage() -> None:
    disk = MemoryDisk()
    files = open_sample(disk).files
    positions = [files.append([body]) for body in (b"one", b"two", b"three")]
    (path,) = segment_paths(disk)
    data = disk.get(path)
    half = bytearray(data)
    half[positions[1] : positions[2]] = bytes(positions[2] - positions[1])
    disk.names[path].data[:] = half

    def arrive() -> None:
        disk.names[path].data[:] = data

    moving = MovingDisk(disk, "never", arrive)
    moving.before = "open 0"
    opens = count()

    def second_open() -> None:
        if next(opens) == 0:
            moving.happens = third_open

    def third_open() -> None:
        moving.happens = arrive

    moving.happens = second_open
    assert verified(moving) == [b"one", b"two", b"three"]
    files.close(clean=False)


# A real process, killed.

APPEND = """
import sys, time
from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.journal_files import open_journal
files = open_journal(LocalDisk(), sys.argv[1], now_ns=time.time_ns(), segment_bytes=4096).files
for index in range(1_000_000):
    body = b"%s-%d " % (sys.argv[2].encode(), index) * (index % 50 + 1)
    files.append([body])
    print(body.decode(), flush=True)
"""


def test_a_process_that_was_killed_had_written_all_that_it_acknowledged(tmp_path: Path) -> None:
    root, acknowledged = f"{tmp_path}/data", list[bytes]()
    for start in range(6):
        command = [sys.executable, "-c", APPEND, root, str(start)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(10 + 17 * start)]
            process.kill()
            lines += process.stdout.readlines()
        acknowledged += [line[:-1] for line in lines if line.endswith(b"\n")]
        found = verified(LocalDisk(), root)
        assert [body for body in found if body in acknowledged] == acknowledged
        assert len(found) <= len(acknowledged) + start + 1


# Every operation of the disk, once failing, once the last.


def live(disk: FaultyDisk, acknowledged: list[bytes]) -> None:
    """Open, append over several rolls, close, and again; list each body once it is acknowledged."""
    for start in range(2):
        files = open_sample(disk).files
        try:
            for index in range(5):
                body = b"%d-%d " % (start, index) * 60
                try:
                    files.append([body])
                except DiskFull:
                    continue
                acknowledged.append(body)
        finally:
            if not any(fault.seen > fault.after and not fault.times for fault in disk.faults):
                files.close(clean=start == 0)


def operations() -> int:
    disk = FaultyDisk(MemoryDisk())
    live(disk, [])
    return len(disk.trace)


def assert_kept(found: list[bytes], acknowledged: list[bytes]) -> None:
    """All that was acknowledged, in order, and of the rest at most what was in doubt."""
    assert [body for body in found if body in acknowledged] == acknowledged
    assert len(found) <= len(acknowledged) + 2


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_of_any_operation_loses_nothing_that_was_acknowledged(number: int) -> None:
    for index in range(operations()):
        disk, acknowledged = FaultyDisk(MemoryDisk()), list[bytes]()
        disk.fail_any(number, index)
        try:
            live(disk, acknowledged)
        except JournalError:
            assert disk.faults[0].seen > index
        inner = disk.inner
        assert isinstance(inner, MemoryDisk)
        inner.locked.clear()
        for cut in (inner, inner.cut_power(), inner.cut_power(Random(index))):
            assert_kept(recovered(cut), acknowledged)


def test_a_kill_or_a_power_cut_before_any_operation_loses_nothing_that_was_acknowledged() -> None:
    for index in range(operations()):
        disk, acknowledged = FaultyDisk(MemoryDisk()), list[bytes]()
        disk.kill(index)
        with pytest.raises(Killed):
            live(disk, acknowledged)
        inner = disk.inner
        assert isinstance(inner, MemoryDisk)
        inner.locked.clear()
        cuts = [inner.cut_power(Random(seed)) for seed in range(10)]
        for cut in (inner, inner.cut_power(), *cuts):
            assert_kept(recovered(cut), acknowledged)


def test_a_power_cut_at_any_operation_of_a_recovery_loses_nothing() -> None:
    disk, path = small_journal(preallocated=True)
    data = disk.get(path)
    torn = edited(disk, path, data[: ENDS[3] + 50] + bytes(len(data) - ENDS[3] - 50))
    probe = FaultyDisk(torn.copy())
    open_sample(probe).files.close(clean=False)
    for index in range(len(probe.trace)):
        twin = FaultyDisk(torn.copy())
        twin.kill(index)
        with pytest.raises((Killed, JournalBroken)):
            open_sample(twin).files.close(clean=False)
        inner = twin.inner
        assert isinstance(inner, MemoryDisk)
        inner.locked.clear()
        for cut in (inner, inner.cut_power(), *(inner.cut_power(Random(n)) for n in range(10))):
            assert recovered(cut) == SMALL[:3]
            assert recovered(cut) == SMALL[:3]
