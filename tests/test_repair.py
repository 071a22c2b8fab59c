"""Repairs of a journal that the engine wrote: what is given up is told, and the rest is as it was."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from random import Random

import pytest
import trio
from click.testing import CliRunner
from corruption.damage import KINDS, Anatomy
from corruption.sample import DATA, SEGMENT_BYTES, make_sample
from corruption.verdict import Truth
from demo_journal import fill, order
from faulty_disk import FaultyDisk, Killed
from test_journal_document import read_journal

from sagakeep.cli import main
from sagakeep.codec import decode_records, encode_record
from sagakeep.demo.services import demo_services
from sagakeep.errors import JournalCorrupt, JournalError, SagaNotFound
from sagakeep.events import ActorRestarted, Record, SagaCompleted
from sagakeep.offline.audit import Audit
from sagakeep.offline.diagnosis import diagnose
from sagakeep.offline.mend import plan_mending
from sagakeep.offline.overlay import OverlayDisk
from sagakeep.offline.repair import NoBoundary, plan_quarantine, plan_truncation
from sagakeep.offline.repair_plan import carry_out
from sagakeep.offline.salvage import read_chain
from sagakeep.offline.wrong_bit import find_wrong_bit
from sagakeep.orchestrator import open_orchestrator
from sagakeep.runtime import frame
from sagakeep.runtime.amendment import finish_amendment
from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.journal_directory import Format, Paths
from sagakeep.runtime.journal_files import open_journal, verify_journal
from sagakeep.runtime.snapshot_file import read_newest_snapshot, write_snapshot
from sagakeep.simulation.disk import MemoryDisk
from sagakeep.validation import parse_definition

PATHS = Paths(DATA)
SAMPLE = make_sample()
ANATOMY = Anatomy(SAMPLE)
TRUTH = Truth(SAMPLE.disk)


def events_of(disk):
    """The events of every saga, as a journal has them."""
    found = {}
    for frame_read in verify_journal(disk, DATA):
        for _, record in decode_records(frame_read.body):
            found.setdefault(record.saga_id, []).extend(record.events)
    return found


def flipped(path, offset):
    data = bytearray(SAMPLE.disk.get(path))
    data[offset] ^= 5  # two bits: one could be put back
    return ANATOMY.with_file(path, bytes(data))()


def damage_of(disk):
    with pytest.raises(JournalCorrupt) as caught:
        list(Audit(disk, DATA))
    return diagnose(disk, PATHS, caught.value)


def reopened(disk):
    opened = open_journal(disk, DATA, now_ns=1, segment_bytes=SEGMENT_BYTES)
    frames = list(opened.files.scan())
    opened.files.close(clean=False)
    return frames


# Truncation


def test_a_journal_can_end_after_any_frame_and_what_is_lost_is_told_event_by_event():
    whole = events_of(SAMPLE.disk)
    chain = read_chain(SAMPLE.disk, PATHS)
    for position in [end for one in chain.segments for end in one.boundaries][::5]:
        disk = SAMPLE.disk.copy()
        plan = plan_truncation(disk, PATHS, position)
        assert not plan.complaint
        carry_out(disk, PATHS, plan)
        left = events_of(disk)
        for saga_id, events in whole.items():
            lost = [one for one in plan.losses if one.saga_id == saga_id]
            kept = len(left.get(saga_id, []))
            assert [(one.first, one.last) for one in lost] == (
                [(kept + 1, len(events))] if kept < len(events) else []
            )
        assert not plan.gaps
        seen = TRUTH.look(disk)
        assert seen.verdict in ("cut", "same")
        assert reopened(disk) == [one for one in TRUTH.frames if one.position < position]


def test_a_journal_can_end_at_its_beginning():
    disk = SAMPLE.disk.copy()
    plan = plan_truncation(disk, PATHS, 0)
    assert {loss.saga_id for loss in plan.losses} == events_of(SAMPLE.disk).keys()
    assert all(loss.first == 1 and not loss.after for loss in plan.losses)
    carry_out(disk, PATHS, plan)
    assert reopened(disk) == []


def test_damage_in_the_middle_is_cut_off_and_what_is_readable_behind_it_is_told():
    path = ANATOMY.segments[2]
    piece = ANATOMY.pieces[path][3]
    disk = flipped(path, piece.first + 60)
    found = damage_of(disk)
    base = int(path[-20:-4], 16)
    assert (found.file, found.offset) == (path, piece.first)
    assert (found.position, found.end) == (base + piece.first, base + piece.end)
    assert found.command == f"sagakeep repair data --truncate-after {base + piece.first}"
    assert found.sagas
    plan = plan_truncation(disk, PATHS, found.position)
    (gap,) = plan.gaps
    assert (gap.path, gap.offset, gap.length) == (path, piece.first, piece.end - piece.first)
    assert gap.sagas == found.sagas
    lost = {loss.saga_id: loss.last for loss in plan.losses}
    whole = events_of(SAMPLE.disk)
    assert all(lost[saga_id] == len(events) for saga_id, events in whole.items() if "3" in saga_id)
    carry_out(disk, PATHS, plan)
    assert TRUTH.look(disk).verdict == "cut"
    assert disk.get(f"data/quarantine/repair-0001/{path.rpartition('/')[2]}") != SAMPLE.disk.get(
        path
    )


@pytest.mark.parametrize("name", ["HEAD", "FORMAT"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_note_that_is_damaged_is_written_anew_and_no_event_is_lost(name, missing):
    path = f"{DATA}/{name}"
    disk = ANATOMY.without(path)() if missing else flipped(path, 20)
    found = damage_of(disk)
    assert found.file == path
    end = read_chain(disk, PATHS).end
    assert found.command == f"sagakeep repair data --truncate-after {end}"
    plan = plan_truncation(disk, PATHS, end)
    assert [one.path for one in plan.amendment.replaced] == [name]
    assert not plan.losses
    carry_out(disk, PATHS, plan)
    assert TRUTH.look(disk).verdict == "same"


def test_a_missing_segment_costs_what_stands_behind_it():
    path = ANATOMY.segments[3]
    disk = ANATOMY.without(path)()
    found = damage_of(disk)
    end = int(path[-20:-4], 16)
    assert found.command.endswith(f"--truncate-after {end}")
    carry_out(disk, PATHS, plan_truncation(disk, PATHS, end))
    assert TRUTH.look(disk).verdict == "cut"
    assert reopened(disk) == [one for one in TRUTH.frames if one.position < end]


def test_a_segment_whose_header_is_damaged_is_a_gap():
    path = ANATOMY.segments[3]
    disk = flipped(path, 70)
    plan = plan_truncation(disk, PATHS, read_chain(disk, PATHS).end)
    assert plan.gaps[0].path == path
    assert plan.gaps[0].offset == 0
    assert not plan.gaps[0].sagas
    assert not plan.complaint


def test_frames_that_only_a_snapshot_knows_of_are_told_as_lost():
    disk = SAMPLE.disk.copy()
    last, newest = ANATOMY.last, ANATOMY.snapshots[-1]
    piece = next(
        one
        for one in ANATOMY.pieces[last]
        if int(last[-20:-4], 16) + one.end >= int(newest[-21:-5], 16)
    )
    disk.put(last, disk.get(last)[: piece.first])
    found = damage_of(disk)
    assert "ends before its snapshot" in found.reason
    plan = plan_truncation(disk, PATHS, read_chain(disk, PATHS).end)
    assert plan.losses, "the snapshot has a saga that had come further"
    assert newest.removeprefix("data/") in plan.amendment.removed
    carry_out(disk, PATHS, plan)
    assert TRUTH.look(disk).verdict == "cut"


@pytest.mark.parametrize("position", [1, 129, 10**9])
def test_a_position_where_no_frame_ends_is_refused_with_the_nearest(position):
    with pytest.raises(NoBoundary, match=r"the nearest are \d+"):
        plan_truncation(SAMPLE.disk, PATHS, position)


def test_a_directory_of_which_nothing_says_which_journal_it_is_is_refused():
    disk = flipped(f"{DATA}/FORMAT", 5)
    for path in ANATOMY.segments:
        disk.put(path, b"x" * 200)
    with pytest.raises(JournalError, match="which journal this is"):
        plan_truncation(disk, PATHS, 0)
    assert damage_of(disk).command == ""


def test_nothing_is_to_be_repaired_at_the_end_of_a_good_journal():
    plan = plan_truncation(SAMPLE.disk, PATHS, read_chain(SAMPLE.disk, PATHS).end)
    assert plan.is_empty
    assert not plan.complaint


# Quarantine of a saga


@pytest.mark.parametrize("saga_id", ["done1", "undone1", "live2", "zeros3", "forged3"])
def test_a_saga_is_taken_out_and_no_other_changes(saga_id):
    disk = SAMPLE.disk.copy()
    plan = plan_quarantine(disk, PATHS, frozenset({saga_id}))
    whole = events_of(SAMPLE.disk)
    lost = (saga_id, 1, len(whole[saga_id]), "")
    assert plan.losses == (lost,)
    carry_out(disk, PATHS, plan)
    del whole[saga_id]
    assert events_of(disk) == whole
    stored = b"".join(disk.get(path) for path in disk.paths() if "/wal/" in path)
    assert bytes([0xA0 + len(saga_id)]) + saga_id.encode() not in stored
    assert {len(disk.get(path)) for path in ANATOMY.segments} == {
        len(SAMPLE.disk.get(path)) for path in ANATOMY.segments
    }
    kept = [one.position for one in reopened(disk)]
    assert set(kept) <= {one.position for one in TRUTH.frames}
    list(Audit(disk, DATA))


def test_only_what_stands_behind_the_first_record_is_written_anew():
    plan = plan_quarantine(SAMPLE.disk, PATHS, frozenset({"forged3"}))
    assert [one.path for one in plan.amendment.replaced] == [ANATOMY.last.removeprefix("data/")]


def test_several_sagas_are_taken_out_at_once():
    disk = SAMPLE.disk.copy()
    carry_out(disk, PATHS, plan_quarantine(disk, PATHS, frozenset({"live1", "live2"})))
    assert events_of(disk).keys() == events_of(SAMPLE.disk).keys() - {"live1", "live2"}


def test_an_unknown_saga_is_told():
    with pytest.raises(SagaNotFound, match="nobody"):
        plan_quarantine(SAMPLE.disk, PATHS, frozenset({"live1", "nobody"}))


def test_damaged_frames_come_first():
    with pytest.raises(JournalCorrupt):
        plan_quarantine(flipped(ANATOMY.segments[1], 200), PATHS, frozenset({"live1"}))


def poisoned():
    """A record that no saga can have had, beside a good one."""
    disk = SAMPLE.disk.copy()
    files = open_journal(disk, DATA, now_ns=1, segment_bytes=SEGMENT_BYTES).files
    count = len(events_of(SAMPLE.disk)["live1"])
    previous = max(
        (one.position, offset)
        for one in files.scan()
        for offset, record in decode_records(one.body)
        if record.saga_id == "live1"
    )
    good = Record("live1", count + 1, 1.8e9, previous, (ActorRestarted("x"),))
    files.append(
        [encode_record(good), encode_record(Record("poison", 7, 1.8e9, None, (SagaCompleted(),)))]
    )
    files.close(clean=False)
    return disk


def test_a_poison_saga_is_named_and_can_be_taken_out():
    disk = poisoned()
    found = damage_of(disk)
    assert found.sagas == ("poison",)
    assert found.command == "sagakeep repair data --quarantine-saga poison"
    plan = plan_quarantine(disk, PATHS, frozenset({"poison"}))
    assert plan.losses == (("poison", 7, 7, ""),) or plan.losses[0].saga_id == "poison"
    carry_out(disk, PATHS, plan)
    assert len(events_of(disk)["live1"]) == len(events_of(SAMPLE.disk)["live1"]) + 1
    list(Audit(disk, DATA))


def test_a_record_of_which_nobody_knows_whose_it_is_is_cut_off():
    disk = SAMPLE.disk.copy()
    files = open_journal(disk, DATA, now_ns=1, segment_bytes=SEGMENT_BYTES).files
    position = files.append([b"\x93\x01\x02\x03"])
    files.close(clean=False)
    found = damage_of(disk)
    assert (found.position, found.sagas) == (position, ())
    assert found.command == f"sagakeep repair data --truncate-after {position}"
    carry_out(disk, PATHS, plan_truncation(disk, PATHS, position))
    list(Audit(disk, DATA))


def test_a_plan_that_leaves_damage_says_so_and_what_helps():
    plan = plan_quarantine(poisoned(), PATHS, frozenset({"live1"}))
    assert "poison" in plan.complaint
    assert plan.next_command == "sagakeep repair data --quarantine-saga poison"


# Snapshots


def test_snapshots_that_are_damaged_or_wrong_are_set_aside_and_nothing_is_lost():
    disk = flipped(ANATOMY.snapshots[0], 100)
    newest = read_newest_snapshot(disk, DATA)
    write_snapshot(disk, DATA, newest.position, newest.chunks[:-1])
    at_the_end = plan_truncation(disk, PATHS, read_chain(disk, PATHS).end)
    assert at_the_end.amendment.removed == (ANATOMY.snapshots[0].removeprefix("data/"),)
    found = damage_of(disk)
    assert found.file == ANATOMY.snapshots[1]
    assert found.command == "sagakeep repair data"
    plan = plan_mending(disk, PATHS)
    assert set(plan.amendment.removed) == {one.removeprefix("data/") for one in ANATOMY.snapshots}
    assert not plan.losses
    carry_out(disk, PATHS, plan)
    assert TRUTH.look(disk).verdict == "passed over"


def test_damage_that_is_not_in_a_snapshot_is_not_mended_by_setting_snapshots_aside():
    plan = plan_mending(flipped(ANATOMY.segments[0], 300), PATHS)
    assert ANATOMY.segments[0] in plan.complaint
    assert plan.next_command == "sagakeep repair data --truncate-after 128"


# A death at any operation


@pytest.mark.parametrize("kind", ["truncation", "quarantine"])
def test_a_repair_that_dies_at_any_operation_leaves_the_old_or_the_new_directory(kind):
    old = flipped(ANATOMY.segments[2], 900) if kind == "truncation" else poisoned()

    def plan(disk):
        if kind == "truncation":
            return plan_truncation(disk, PATHS, damage_of(disk).position)
        return plan_quarantine(disk, PATHS, frozenset({"poison", "live1"}))

    wanted, probe = plan(old), FaultyDisk(old.copy())
    carry_out(probe, PATHS, wanted)
    before, after = content(old), content(probe.inner)
    list(Audit(probe.inner, DATA))
    seen = set()
    for index in range(len(probe.trace)):
        disk = FaultyDisk(old.copy())
        disk.kill(index)
        with pytest.raises(Killed):
            carry_out(disk, PATHS, wanted)
        cuts = [disk.inner.cut_power(Random(index * 10 + seed)) for seed in range(5)]
        for left in (disk.inner, disk.inner.cut_power(), *cuts):
            decided = bool(finish_amendment(left, PATHS))
            assert content(left) == after if decided else content(left) in (before, after)
            seen.add((decided, content(left) == after))
    assert seen == {(False, False), (True, True), (False, True)}


def test_a_repair_can_be_made_again_after_one_that_was_never_decided_on():
    old = flipped(ANATOMY.segments[2], 900)
    disk = FaultyDisk(old)
    disk.kill(20)
    with pytest.raises(Killed):
        carry_out(disk, PATHS, plan_truncation(old, PATHS, damage_of(old).position))
    carry_out(old, PATHS, plan_truncation(old, PATHS, damage_of(old).position))
    assert TRUTH.look(old).verdict == "cut"
    assert old.list(f"{DATA}/quarantine/repair-0002")


def content(disk):
    """What anybody reads of a directory."""
    named = {path: disk.get(path) for path in disk.paths()}
    return {
        path: data
        for path, data in named.items()
        if "/quarantine/" not in path and not path.endswith(".tmp")
    }


# The commands, on a real directory


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    directory = tmp_path_factory.mktemp("repair") / "data"
    fill(str(directory))
    return directory


@pytest.fixture
def directory(filled, tmp_path):
    return shutil.copytree(filled, tmp_path / "data")


@pytest.fixture
def damaged(directory):
    (path,) = (directory / "wal").iterdir()
    data = bytearray(path.read_bytes())
    data[2300] ^= 5
    path.write_bytes(data)
    return directory


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def files_of(directory):
    return {
        path: path.read_bytes()
        for path in directory.rglob("*")
        if path.name != "LOCK" and path.is_file()
    }


def test_what_verify_advises_repairs_the_directory_and_the_server_starts(damaged):
    checked = run("verify", damaged, "--json")
    assert checked.exit_code == 1
    damage = json.loads(checked.stdout)["damage"]
    assert damage["sagas"] == ["undone"]
    command = damage["command"].split(" ")
    assert command[0] == "sagakeep"
    before = files_of(damaged)
    planned = run(*command[1:])
    assert planned.exit_code == 0
    assert "saga undone: events 6 to 14 are lost; it is running again" in planned.stdout
    assert "176 bytes cannot be read; they name undone" in planned.stdout
    assert files_of(damaged) == before
    done = run(*command[1:], "--yes", "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["done"] is True
    report = json.loads((damaged / "quarantine/repair-0001/report.json").read_text())
    assert report["lost"] == told["lost"]
    (path,) = (damaged / "wal").iterdir()
    assert (damaged / "quarantine/repair-0001" / path.name).read_bytes() == before[path]
    assert run("verify", damaged).exit_code == 0

    async def serve():
        async with open_orchestrator(str(damaged), demo_services(str(damaged))) as sagas:
            saga = await sagas.wait("undone", 10)
            document = order("deleted")
            await sagas.start(parse_definition(document, sagas.services))
            return saga, await sagas.wait("deleted", 10)

    undone, again = trio.run(serve)
    assert undone.status == "compensated"
    assert again.status == "completed"
    assert run("verify", damaged).exit_code == 0


def test_a_saga_that_was_taken_out_can_be_begun_again(directory):
    assert run("repair", directory, "--quarantine-saga", "held", "--yes").exit_code == 0

    async def serve():
        async with open_orchestrator(str(directory), demo_services(str(directory))) as sagas:
            assert sagas.statistics().total == 3
            started = await sagas.start(parse_definition(order("held"), sagas.services))
            await sagas.wait("held", 10)  # how it ends is the services' to say: they know its keys
            return started

    assert trio.run(serve).is_new
    assert run("verify", directory).exit_code == 0


def test_a_repaired_journal_is_read_by_the_document(directory):
    assert run("repair", directory, "--quarantine-saga", "undone", "--yes").exit_code == 0
    frames = read_journal(directory)
    assert frames
    assert sum(count for _, _, count in frames) < len(frames), "some have no record left"
    assert run("repair", directory, "--truncate-after", frames[9][0], "--yes").exit_code == 0
    assert read_journal(directory) == frames[:9]


def test_verify_says_the_place_and_the_command(damaged):
    result = run("verify", damaged)
    assert result.exit_code == 1
    assert "offset 2208: the frame is damaged" in result.stderr
    assert "positions 2208 to 2384 of the journal cannot be used" in result.stderr
    assert f"sagakeep repair {damaged} --truncate-after 2208" in result.stderr


def test_verify_prints_json(directory):
    told = json.loads(run("verify", directory, "--json").stdout)
    assert told["good"] is True
    assert told["sagas"] == {"completed": 1, "compensated": 2, "failed": 1}


def test_a_directory_in_use_is_not_repaired(directory):
    files = open_journal(LocalDisk(), str(directory), now_ns=1).files
    result = run("repair", directory, "--quarantine-saga", "held", "--yes")
    files.close()
    assert result.exit_code == 1
    assert "another process holds the data directory" in result.stderr


def test_a_good_directory_needs_no_repair(directory):
    result = run("repair", directory)
    assert (result.exit_code, result.stdout) == (0, "there is nothing to repair\n")


def test_a_repair_that_would_not_help_changes_nothing_and_says_what_would(damaged):
    before = files_of(damaged)
    result = run("repair", damaged, "--yes")
    assert result.exit_code == 1
    assert "it would still be damaged" in result.stdout
    assert f"try then: sagakeep repair {damaged} --truncate-after 2208" in result.stdout
    assert files_of(damaged) == before


def test_a_snapshot_is_set_aside_by_the_command(directory):
    (path,) = (directory / "snap").iterdir()
    path.write_bytes(b"damaged")
    result = run("repair", directory, "--yes")
    assert "no event is lost" in result.stdout
    assert f"snap/{path.name} is set aside" in result.stdout
    assert not path.exists()
    assert (directory / "quarantine/repair-0001" / path.name).read_bytes() == b"damaged"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--truncate-after", "5"], "no position at which a frame ends"),
        (["--truncate-after", "-1"], "-1"),
        (["--dry-run", "--yes"], "exclude each other"),
        (["--truncate-after", "0", "--quarantine-saga", "x"], "exclude each other"),
    ],
)
def test_wrong_usage_is_told(directory, args, words):
    result = run("repair", directory, *args)
    assert result.exit_code == 2
    assert words in result.stderr


def test_an_interrupted_repair_is_finished_by_the_next_one_or_by_a_start(directory, monkeypatch):
    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("sagakeep.runtime.amendment.finish_amendment", die)
        with pytest.raises(Killed):
            CliRunner().invoke(
                main,
                ["repair", str(directory), "--quarantine-saga", "held", "--yes"],
                catch_exceptions=False,
            )
    assert "a repair was interrupted" in run("verify", directory).stderr
    assert "--yes finishes it" in run("repair", directory).stderr
    twin = shutil.copytree(directory, directory.parent / "twin")
    finished = run("repair", twin, "--yes")
    assert finished.stdout.startswith("a repair that was interrupted is finished: see ")
    opened = open_journal(LocalDisk(), str(directory), now_ns=1)
    assert opened.report.notes[0].startswith("a repair was interrupted and is finished: see ")
    opened.files.close()
    for one in (directory, twin):
        ids = {record.saga_id for record, _ in list(Audit(LocalDisk(), str(one)))}
        assert "held" not in ids
        assert "done" in ids


def test_many_lost_sagas_are_cut_short_in_words_and_not_in_json(directory, monkeypatch):
    monkeypatch.setattr("sagakeep.offline.repair_listing.SAGAS_SHOWN_MAX", 2)
    result = run("repair", directory, "--truncate-after", "0")
    assert "and 3 more sagas: --json lists all" in result.stdout
    assert (
        len(json.loads(run("repair", directory, "--truncate-after", "0", "--json").stdout)["lost"])
        == 5
    )


def test_a_frame_keeps_its_length_though_it_was_stuffed():
    place = frame.Place(1, 0, 1, 2)
    body = bytes(600)
    data, _ = frame.encode(body, 1, 128, place)
    header = frame.decode_header(data, 0, 1)
    again, _ = frame.encode_like(header, b"\1" * 600, 0, 128, place)
    assert len(again) == len(data)
    (found,) = frame.walk(bytes(128) + again, 128, place)
    assert found.body == b"\1" * 600


def test_a_broken_frame_that_is_stuffed_still_says_whose_it_was():
    disk = SAMPLE.disk
    for path in ANATOMY.segments:
        data = disk.get(path)
        seed = frame.seed_of(data[64:80])
        for piece in ANATOMY.pieces[path]:
            header = frame.decode_header(data, piece.first, seed)
            if header.flags & frame.STUFFED:
                found = damage_of(flipped(path, piece.end - 100))
                assert found.sagas == ("zeros3",)
                return
    raise AssertionError("the sample has a stuffed frame")


def test_a_poison_record_of_a_snapshot_from_beyond_the_end_is_passed_over():
    disk = SAMPLE.disk.copy()
    newest = read_newest_snapshot(disk, DATA)
    write_snapshot(disk, DATA, 1 << 40, [newest.chunks[0], b"\x93\x01\x02\x03", *newest.chunks[1:]])
    plan = plan_truncation(disk, PATHS, read_chain(disk, PATHS).end)
    assert plan.amendment.removed == (f"snap/{1 << 40:016x}.snap",)
    assert not plan.losses
    assert not plan.complaint


def test_a_journal_of_a_newer_format_is_not_repaired():
    disk = SAMPLE.disk.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sagakeep.runtime.journal_directory.VERSION", 2)
        disk.put(PATHS.format, Format(bytes(16), 1).encode())
    with pytest.raises(JournalError, match="use a newer one"):
        plan_mending(disk, PATHS)


def test_where_no_journal_is_nothing_can_be_repaired():
    plan = plan_mending(MemoryDisk(), PATHS)
    assert "there is no journal here" in plan.complaint
    assert not plan.next_command


def test_what_would_be_is_only_read():
    over = OverlayDisk(SAMPLE.disk, {"data/HEAD": lambda: b"new"}, frozenset({"data/FORMAT"}))
    file = over.open("data/HEAD")
    assert (file.pread(2, 1), file.size(), over.exists("data/FORMAT")) == (b"ew", 3, False)
    assert over.free_bytes("data") > 0
    with pytest.raises(FileNotFoundError):
        over.open("data/FORMAT")
    writes = [
        lambda: over.open("x", create=True),
        lambda: over.make_directory("x"),
        lambda: over.rename("x", "y"),
        lambda: over.unlink("data/HEAD"),
        lambda: over.sync_directory("data"),
        lambda: over.lock("data/LOCK"),
        lambda: file.pwrite(b"x", 0),
        lambda: file.truncate(0),
        lambda: file.allocate(9),
        file.fsync,
        file.fdatasync,
    ]
    for write in writes:
        with pytest.raises(OSError, match="only read"):
            write()
    file.close()


def test_a_torn_end_is_no_damage_and_verify_says_so(directory):
    (path,) = (directory / "wal").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    result = run("verify", directory)
    assert result.exit_code == 0
    assert "bytes at the end were never finished, which is normal" in result.stdout
    assert "torn" in result.stderr


def test_a_directory_that_only_a_copy_can_mend_says_so(damaged):
    (path,) = (damaged / "wal").iterdir()
    path.write_bytes(b"x" * 300)
    (damaged / "FORMAT").write_bytes(b"x")
    result = run("verify", damaged)
    assert result.exit_code == 1
    assert "restore the directory from a copy\n" in result.stderr
    assert json.loads(run("verify", damaged, "--json").stdout)["damage"]["command"] == ""


# Wrong bits


@pytest.mark.parametrize("name", ["HEAD", "FORMAT", "wal"])
def test_any_single_wrong_bit_is_put_back_and_nothing_is_lost(name):
    paths = [path for path in (*ANATOMY.segments, *ANATOMY.notes) if f"/{name}" in path]
    random = Random(name)
    for _ in range(30):
        path = random.choice(paths)
        data = SAMPLE.disk.get(path)
        bit = random.randrange(len(data) * 8)
        if path == ANATOMY.last and bit // 8 >= ANATOMY.end(path):
            continue  # what is there is cut off as torn
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        disk = ANATOMY.with_file(path, bytes(changed))()
        found = damage_of(disk)
        assert found.remedy.startswith("a single bit")
        assert found.command == "sagakeep repair data"
        plan = plan_mending(disk, PATHS)
        assert plan.what == f"bit {bit % 8} of byte {bit // 8} of {path} is put back"
        assert not plan.losses
        assert not plan.complaint
        carry_out(disk, PATHS, plan)
        assert disk.get(path) == data
        assert TRUTH.look(disk).verdict == "same"


def test_wrong_bits_in_several_frames_and_files_are_put_back_at_once():
    disk = SAMPLE.disk.copy()
    for path in (*ANATOMY.segments, *ANATOMY.notes):
        data = bytearray(disk.get(path))
        data[30] ^= 8
        if path in ANATOMY.pieces:
            for piece in ANATOMY.pieces[path][::2]:
                data[piece.first + 45] ^= 64
        disk.put(path, bytes(data))
    plan = plan_mending(disk, PATHS)
    assert plan.what.count("is put back") > 15
    carry_out(disk, PATHS, plan)
    assert TRUTH.look(disk).verdict == "same"


def test_what_is_more_than_one_bit_is_never_taken_for_one():
    random = Random(3)
    for _ in range(40):
        path = random.choice(ANATOMY.segments)
        piece = random.choice(ANATOMY.pieces[path])
        data = bytearray(SAMPLE.disk.get(path))
        for offset in random.sample(range(piece.first, piece.end), random.choice((2, 3, 9))):
            data[offset] ^= random.randrange(1, 256)
        disk = ANATOMY.with_file(path, bytes(data))()
        assert not damage_of(disk).remedy
        plan = plan_mending(disk, PATHS)
        assert plan.is_empty
        assert plan.complaint


def test_bits_are_put_back_though_other_damage_is_left():
    disk = flipped(ANATOMY.segments[3], 300)
    data = bytearray(disk.get(ANATOMY.segments[1]))
    data[400] ^= 2
    disk.put(ANATOMY.segments[1], bytes(data))
    plan = plan_mending(disk, PATHS)
    assert plan.is_mending
    assert not plan.is_empty
    assert ANATOMY.segments[3] in plan.complaint
    carry_out(disk, PATHS, plan)
    assert damage_of(disk).file == ANATOMY.segments[3]
    assert plan.next_command == damage_of(disk).command


def test_too_many_wrong_bits_are_not_put_back(monkeypatch):
    monkeypatch.setattr("sagakeep.offline.mend.BITS_MAX", 2)
    disk = SAMPLE.disk.copy()
    for path in ANATOMY.segments[:4]:
        data = bytearray(disk.get(path))
        data[30] ^= 8
        disk.put(path, bytes(data))
    assert plan_mending(disk, PATHS).complaint


def test_a_wrong_bit_is_put_back_by_the_command(directory):
    (path,) = (directory / "wal").iterdir()
    good = path.read_bytes()
    data = bytearray(good)
    data[2300] ^= 1
    path.write_bytes(data)
    checked = run("verify", directory)
    assert "a single bit is wrong there: it can be put back, and nothing is lost" in checked.stderr
    assert checked.stderr.endswith(f"sagakeep repair {directory}\n")
    result = run("repair", directory, "--yes")
    assert result.exit_code == 0
    assert f"bit 0 of byte 2300 of {path} is put back" in result.stdout
    assert "no event is lost" in result.stdout
    assert path.read_bytes() == good
    assert run("verify", directory).exit_code == 0


def test_bits_are_put_back_by_the_command_though_it_is_still_damaged_then(damaged):
    (path,) = (damaged / "wal").iterdir()
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    result = run("repair", damaged, "--yes")
    assert result.exit_code == 1
    assert "bit 0 of byte 300" in result.stdout
    assert "it is still damaged then:" in result.stdout
    assert f"try then: sagakeep repair {damaged} --truncate-after 2208" in result.stdout
    assert json.loads(run("verify", damaged, "--json").stdout)["damage"]["offset"] == 2208


def test_only_bytes_of_the_journal_are_looked_at_for_a_wrong_bit():
    disk = SAMPLE.disk.copy()
    path = ANATOMY.segments[1]
    end = ANATOMY.pieces[path][-1].end
    disk.put(path, disk.get(path)[: end - 8])
    assert (
        find_wrong_bit(disk, PATHS, JournalCorrupt(path, ANATOMY.pieces[path][-1].first, "cut"))
        is None
    )
    for file, offset, record in (
        (path, 136, None),
        (path, 128, 0),
        (ANATOMY.snapshots[0], 0, None),
        (f"{DATA}/nothing", 0, None),
    ):
        error = JournalCorrupt(file, offset, "x", record)
        assert find_wrong_bit(disk, PATHS, error) is None


def test_a_stray_bit_in_the_unused_room_of_an_earlier_segment_is_put_back():
    path = ANATOMY.segments[4]
    data = bytearray(SAMPLE.disk.get(path))
    data[-100] = 16
    disk = ANATOMY.with_file(path, bytes(data))()
    assert damage_of(disk).remedy.startswith("a single bit")
    carry_out(disk, PATHS, plan_mending(disk, PATHS))
    assert disk.get(path) == SAMPLE.disk.get(path)


# Whatever is damaged


@pytest.mark.parametrize("kind", KINDS)
def test_what_verify_advises_mends_every_kind_of_damage_and_leaves_a_prefix(kind):
    damages = list(islice(KINDS[kind](ANATOMY), 0, 60_000))
    for damage in Random(kind).sample(damages, min(len(damages), 14)):
        disk = damage.make()
        try:
            list(Audit(disk, DATA))
            continue
        except JournalCorrupt as error:
            found = diagnose(disk, PATHS, error)
        assert found.command, damage.what
        if "--truncate-after" in found.command:
            plan = plan_truncation(disk, PATHS, int(found.command.rpartition(" ")[2]))
        else:
            plan = plan_mending(disk, PATHS)
        assert not plan.complaint, damage.what
        carry_out(disk, PATHS, plan)
        list(Audit(disk, DATA))
        frames = reopened(disk)
        assert frames == TRUTH.frames[: len(frames)], damage.what


def test_what_stands_behind_the_end_of_an_earlier_segment_is_cleared_and_nothing_is_lost():
    disk = SAMPLE.disk.copy()
    for path in ANATOMY.segments[1:3]:
        data = bytearray(disk.get(path))
        data[40] ^= 1  # a bit of the header, too
        disk.put(path, bytes(data) + b"somebody else's bytes")
    assert "put back" in damage_of(disk).remedy
    plan = plan_mending(disk, PATHS)
    assert not plan.complaint
    assert plan.what.count("is cleared") == 2
    carry_out(disk, PATHS, plan)
    assert TRUTH.look(disk).verdict == "same"
    cluttered = ANATOMY.with_file(
        ANATOMY.segments[1], SAMPLE.disk.get(ANATOMY.segments[1]) + b"xyz"
    )()
    assert "it can be cleared" in damage_of(cluttered).remedy
    end = read_chain(cluttered, PATHS).end
    assert not plan_truncation(cluttered, PATHS, end).complaint
