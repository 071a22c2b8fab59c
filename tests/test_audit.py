from __future__ import annotations

import shutil

import pytest
from demo_journal import fill

from sagakeep.codec import decode_records, encode_record, encode_state
from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.events import ActorRestarted, Record, SagaStarted
from sagakeep.offline.audit import Audit
from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.journal_files import open_journal
from sagakeep.runtime.snapshot_file import read_newest_snapshot, write_snapshot

BUG = (ActorRestarted("x"),)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    directory = tmp_path_factory.mktemp("audit") / "data"
    fill(str(directory))
    return directory


@pytest.fixture
def directory(filled, tmp_path):
    return shutil.copytree(filled, tmp_path / "data")


def audit(directory):
    reading = Audit(LocalDisk(), str(directory))
    records = list(reading)
    return records, reading.summary()


def last_records(directory):
    """The last record of each saga, with its position."""
    opened = open_journal(LocalDisk(), str(directory), now_ns=1)
    last = {}
    for frame in opened.files.scan():
        for offset, record in decode_records(frame.body):
            last[record.saga_id] = record, (frame.position, offset)
    opened.files.close()
    return last


def append(directory, *records):
    """Append one frame; returns what an audit then complains of."""
    files = open_journal(LocalDisk(), str(directory), now_ns=1).files
    files.append([encode_record(record) for record in records])
    files.close()
    return complaint_of(directory)


def complaint_of(directory):
    with pytest.raises(JournalCorrupt) as caught:
        audit(directory)
    return caught.value


def following(directory, saga_id, *, skip=0, previous=..., events=BUG):
    record, position = last_records(directory)[saga_id]
    sequence = record.sequence + len(record.events) + skip
    place = position if previous is ... else previous
    return Record(saga_id, sequence, record.at_utc_s, place, events)


def test_a_good_journal_is_counted(directory):
    records, summary = audit(directory)
    assert summary.sagas == {"completed": 1, "compensated": 2, "failed": 1}
    assert summary.deleted == 1
    assert summary.records == len(records)
    assert summary.events == sum(len(one.record.events) for one in records)
    assert summary.torn_bytes == 0
    assert not summary.notes
    assert records[-1].state.id in {"done", "undone", "refunded", "deleted", "held"}


def test_nothing_is_changed(directory):
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    audit(directory)
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_a_directory_in_use_is_audited_also_across_segments(directory):
    files = open_journal(LocalDisk(), str(directory), now_ns=1).files
    record, position = last_records_of(files, "done")
    woken = Record(
        "done", record.sequence + len(record.events), 1.0, position, (ActorRestarted("x"),)
    )
    files.append([encode_record(woken)])
    _, summary = audit(directory)
    assert summary.segments == 2
    files.close(clean=False)


def last_records_of(files, saga_id):
    found = None
    for frame in files.scan():
        for offset, record in decode_records(frame.body):
            if record.saga_id == saga_id:
                found = record, (frame.position, offset)
    return found


def test_no_journal_is_told(tmp_path):
    with pytest.raises(JournalError, match="there is no journal here"):
        audit(tmp_path)


def test_a_wrong_byte_is_told_with_its_place(directory):
    (path,) = (directory / "wal").iterdir()
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    error = complaint_of(directory)
    assert (error.file, error.offset) == (str(path), 128)


def test_an_event_that_cannot_be_is_told_with_its_place(directory):
    error = append(directory, following(directory, "done", events=(SagaStarted(1.0),)))
    assert error.file.startswith(str(directory / "wal"))
    assert error.offset == 128
    assert (
        error.reason
        == "record at byte 0 of the frame: saga 'done': saga_started in status completed"
    )


def test_an_event_that_is_missing_is_told(directory):
    error = append(directory, following(directory, "held", skip=1))
    assert "follows event" in error.reason


@pytest.mark.parametrize(("saga_id", "text"), [("held", "elsewhere"), ("done", "it began twice")])
def test_a_saga_whose_records_are_not_a_chain_is_told(directory, saga_id, text):
    assert text in append(directory, following(directory, saga_id, previous=None)).reason


def test_a_record_before_that_is_no_record_is_told(directory):
    record = following(directory, "done", previous=(1, 0))
    assert "no frame stands there" in append(directory, record).reason


def test_a_saga_of_another_journal_is_told(directory):
    record = Record("unknown", 5, 1.0, (128, 0), BUG)
    assert "it began twice, or before the journal" in append(directory, record).reason


def test_the_second_record_of_a_frame_has_its_byte_told(directory):
    good = following(directory, "held")
    bad = Record("new", 2, 1.0, None, BUG)
    error = append(directory, good, bad)
    assert error.reason.startswith(f"record at byte {len(encode_record(good))} of the frame: ")


def test_bytes_that_are_no_record_are_told(directory):
    files = open_journal(LocalDisk(), str(directory), now_ns=1).files
    files.append([b"\x93\x01\x02\x03"])
    files.close()
    assert "not a record" in complaint_of(directory).reason


def test_a_frame_with_another_number_of_records_is_told(directory):
    two = b"".join(encode_record(following(directory, saga_id)) for saga_id in ("held", "done"))
    files = open_journal(LocalDisk(), str(directory), now_ns=1).files
    files.append([two])
    files.close()
    assert complaint_of(directory).reason == "the frame has 2 records, its header says 1"


# Snapshots


def snapshot_with(directory, change):
    """Write the newest snapshot anew with other chunks."""
    snapshot = read_newest_snapshot(LocalDisk(), str(directory))
    head, *chunks = snapshot.chunks
    chunks = change(chunks)
    write_snapshot(LocalDisk(), str(directory), snapshot.position, [head, *chunks])
    return complaint_of(directory)


def state_of(directory, saga_id):
    return next(one.state for one in reversed(audit(directory)[0]) if one.state.id == saga_id)


def test_there_is_a_snapshot_to_compare(directory):
    snapshot = read_newest_snapshot(LocalDisk(), str(directory))
    assert len(snapshot.chunks) == 2, "the head and the saga that is held"


def test_a_snapshot_without_a_live_saga_is_told(directory):
    error = snapshot_with(directory, lambda chunks: [])
    assert error.file.endswith(".snap")
    assert error.reason == "saga 'held' is missing"


def test_a_snapshot_that_differs_from_the_events_is_told(directory):
    other = encode_state(state_of(directory, "done"), (128, 0))
    error = snapshot_with(directory, lambda chunks: [*chunks, other])
    assert error.reason == "saga 'done' differs from its events"


def test_a_snapshot_that_cannot_be_read_is_told(directory):
    assert "not a state" in snapshot_with(directory, lambda chunks: [b"\x93\x01\x02\x03"]).reason


def test_a_snapshot_is_compared_at_its_position(directory):
    files = open_journal(LocalDisk(), str(directory), now_ns=1).files
    files.close()
    record = following(directory, "held")
    files = open_journal(LocalDisk(), str(directory), now_ns=1).files
    files.append([encode_record(record)])
    files.close()
    assert audit(directory)[1].sagas["failed"] == 1


def test_a_damaged_snapshot_is_noted(directory):
    (path,) = (directory / "snap").iterdir()
    path.write_bytes(b"damaged")
    _, summary = audit(directory)
    assert summary.notes[0].startswith(f"{path} will not be used: ")


def test_an_older_snapshot_is_compared_too(directory):
    newest = read_newest_snapshot(LocalDisk(), str(directory))
    write_snapshot(LocalDisk(), str(directory), 128, [newest.chunks[0], newest.chunks[1]])
    error = complaint_of(directory)
    assert error.file.endswith("0000000000000080.snap")
    assert error.reason == "saga 'held' differs from its events"


def test_a_journal_that_ends_before_its_snapshot_is_told(directory):
    newest = read_newest_snapshot(LocalDisk(), str(directory))
    write_snapshot(LocalDisk(), str(directory), 1 << 30, newest.chunks)
    error = complaint_of(directory)
    (path,) = (directory / "wal").iterdir()
    assert (error.file, error.offset) == (str(path), path.stat().st_size)
    assert "ends before its snapshot" in error.reason
