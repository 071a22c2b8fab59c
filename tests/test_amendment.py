"""A repair that dies at any operation of the disk leaves the old directory or the new one."""

from __future__ import annotations

import errno
from random import Random

import pytest
from faulty_disk import FaultyDisk, Killed

from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.runtime.amendment import Amendment, Replacement, amend, finish_amendment
from sagakeep.runtime.journal_check import read_layout
from sagakeep.runtime.journal_directory import Paths, seal
from sagakeep.simulation.disk import MemoryDisk

PATHS = Paths("data")
OLD = {"HEAD": b"old head", "wal/1.seg": b"one", "wal/2.seg": b"two", "index.sqlite": b"rows"}
NEW = {"HEAD": b"new head", "wal/1.seg": b"on", "FORMAT": b"format"}
AMENDMENT = Amendment(
    tuple(Replacement(path, lambda data=data: data) for path, data in NEW.items()),
    ("wal/2.seg",),
    ("index.sqlite",),
)


def old_disk():
    disk = MemoryDisk()
    for path, data in OLD.items():
        disk.put(f"data/{path}", data)
    return disk


def content(disk):
    """What anybody reads of the directory."""
    named = {path.removeprefix("data/"): disk.get(path) for path in disk.paths()}
    unread = ("quarantine/", "HEAD.tmp", "FORMAT.tmp", "REPAIR.tmp", "wal/1.seg.tmp")
    return {path: data for path, data in named.items() if not path.startswith(unread)}


def test_files_are_replaced_and_removed_and_the_originals_kept():
    disk = old_disk()
    aside = amend(disk, PATHS, AMENDMENT, b"why")
    assert aside == "data/quarantine/repair-0001"
    assert content(disk) == NEW
    kept = {path: disk.get(f"{aside}/{path}") for path in disk.list(aside)}
    assert kept == {
        "HEAD": b"old head",
        "1.seg": b"one",
        "2.seg": b"two",
        "report.json": b"why",
    }


def test_each_amendment_has_a_place_of_its_own():
    disk = old_disk()
    amend(disk, PATHS, AMENDMENT, b"")
    assert amend(disk, PATHS, AMENDMENT, b"").endswith("repair-0002")


def outcomes(disk):
    """The disk as it is, and as a power cut could leave it."""
    return [disk, disk.cut_power(), *(disk.cut_power(Random(seed)) for seed in range(12))]


def interrupted():
    """What a death or an error at each operation leaves, and whether the amendment was decided on by then."""
    probe = FaultyDisk(old_disk())
    amend(probe, PATHS, AMENDMENT, b"why")
    for index in range(len(probe.trace)):
        for death in ("kill", "fail"):
            disk = FaultyDisk(old_disk())
            disk.kill(index) if death == "kill" else disk.fail_any(errno.EIO, index)
            with pytest.raises((Killed, OSError, JournalError)):
                amend(disk, PATHS, AMENDMENT, b"why")
            yield from outcomes(disk.inner)


def test_a_death_at_any_operation_leaves_the_old_or_the_new_directory():
    found = set()
    for left in interrupted():
        decided = left.exists(PATHS.repair)
        before = content(left)
        finished = finish_amendment(left, PATHS)
        assert bool(finished) is decided
        assert content(left) in (OLD, NEW)
        if decided:
            assert content(left) == NEW
        else:
            assert before == content(left)
        found.add((decided, content(left) == NEW))
    assert found == {(False, False), (True, True), (False, True)}


def test_a_death_while_it_is_finished_is_finished_later():
    disk = FaultyDisk(old_disk())
    disk.fail("create HEAD.tmp", errno.EIO)
    with pytest.raises(OSError):
        amend(disk, PATHS, AMENDMENT, b"why")
    left = disk.inner
    probe = FaultyDisk(left.copy())
    finish_amendment(probe, PATHS)
    for index in range(len(probe.trace)):
        twin = FaultyDisk(left.copy())
        twin.kill(index)
        with pytest.raises(Killed):
            finish_amendment(twin, PATHS)
        for cut in outcomes(twin.inner):
            finish_amendment(cut, PATHS)
            assert content(cut) == NEW


def test_who_only_reads_says_that_a_repair_is_half_done():
    disk = old_disk()
    disk.put(PATHS.repair, seal("sagakeep-repair 1\naside repair-0001\n"))
    with pytest.raises(
        JournalError, match="a repair was interrupted: `sagakeep repair data --yes`"
    ):
        read_layout(disk, PATHS)


@pytest.mark.parametrize(
    "note",
    [
        seal("sagakeep-repair 2\naside repair-0001\n"),
        seal("sagakeep-repair 1\naside ../x\n"),
        seal("sagakeep-repair 1\naside repair-0001\nrename HEAD\n"),
        b"no note",
    ],
)
def test_a_damaged_note_is_refused(note):
    disk = old_disk()
    disk.put(PATHS.repair, note)
    with pytest.raises(JournalCorrupt) as caught:
        finish_amendment(disk, PATHS)
    assert caught.value.file == PATHS.repair
    assert content(disk) == {**OLD, "REPAIR": note}
