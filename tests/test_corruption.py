"""A bounded share of the corruption campaign, and that it would notice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from corruption import campaign
from corruption.damage import HARMLESS, KINDS, REFUSED, Anatomy, Damage
from corruption.sample import make_sample
from corruption.verdict import Seen, Truth, Wrong

from sagakeep.runtime import frame
from sagakeep.simulation.disk import MemoryDisk

LARGE = {
    "flipped bits": 211,
    "cut files": 61,
    "torn writes": 41,
    "overwritten bytes": 97,
    "moved frames": 5,
}


@pytest.fixture(scope="module")
def sample():
    return make_sample()


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_changes_the_state_silently(sample, kind):
    (tally,) = campaign.run_campaign(sample, [kind], stride=LARGE.get(kind, 1))
    assert not tally.wrong
    assert tally.damages > 5
    assert tally.verdicts.keys() <= {"refused", "same", "passed over", "cut"}
    assert tally.verdicts["refused"]


def test_the_sample_is_a_real_journal_with_all_that_can_be_damaged(sample):
    anatomy = Anatomy(sample)
    assert 20_000 < sum(len(sample.disk.get(path)) for path in anatomy.segments) < 30_000
    assert len(anatomy.segments) > 4
    assert len(anatomy.snapshots) == 2
    truth = Truth(sample.disk)
    fold = truth.fold_of(len(truth.frames))
    assert len(fold.live) >= 3
    assert {status for status, count in fold.statistics.by_status.items() if count} >= {
        "completed",
        "compensated",
        "failed",
        "running",
    }
    assert len({anatomy.disk.get(path)[48:52] for path in anatomy.segments}) == 3, "three starts"
    stored = b"".join(sample.disk.get(path) for path in anatomy.segments)
    assert stored.count(frame.MAGIC_BYTES) > anatomy.frames, "forged frames in a payload"


def test_the_same_seed_gives_the_same_bytes():
    one, other = make_sample().disk, make_sample().disk
    assert {path: one.get(path) for path in one.paths()} == {
        path: other.get(path) for path in other.paths()
    }


def test_a_flip_in_the_last_acknowledged_frame_is_refused_and_never_cut(sample):
    anatomy = Anatomy(sample)
    last = anatomy.pieces[anatomy.last][-1]
    data = anatomy.disk.get(anatomy.last)
    truth = Truth(sample.disk)
    for bit in range(last.first * 8, last.end * 8, 13):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        seen = truth.look(anatomy.with_file(anatomy.last, bytes(changed))())
        assert (seen.verdict, seen.file, seen.offset) == ("refused", anatomy.last, last.first)


# The judge


def test_another_journal_is_noticed(sample):
    truth = Truth(sample.disk)
    with pytest.raises(Wrong, match="never acknowledged"):
        truth.look(make_sample(seed=2).disk)


def test_an_older_copy_of_everything_is_seen_as_cut(sample):
    """Nothing in the directory tells: a restored backup is a good directory."""
    assert Truth(sample.disk).look(sample.older[0]).verdict == "cut"


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen("same"), "is Seen"),
        (Seen("refused", "f", 5, "x"), ""),
        (Seen("refused", "", -1, "x"), "no place"),
        (Seen("refused", "g", 5, "x"), "names g"),
        (Seen("refused", "f", 9, "x"), "offset 9"),
    ],
)
def test_a_verdict_that_may_not_be_is_a_complaint(seen, words):
    damage = Damage("d", MemoryDisk, REFUSED, "f", 8)
    assert campaign.complaint_of(damage, seen).startswith(words) or words in (
        campaign.complaint_of(damage, seen)
    )
    assert bool(campaign.complaint_of(damage, seen)) is bool(words)


def test_a_cut_of_too_much_is_a_complaint():
    damage = Damage("d", MemoryDisk, frozenset({"cut"}), frames=3)
    assert not campaign.complaint_of(damage, Seen("cut", frames=3))
    assert "2 frames are left, not 3" in campaign.complaint_of(damage, Seen("cut", frames=2))


def test_a_start_that_crashes_is_wrong(sample, monkeypatch):
    def crash(_disk):
        raise IndexError("out of range")

    monkeypatch.setattr("corruption.verdict._open", lambda disk: crash(disk))
    monkeypatch.setattr(
        campaign, "KINDS", {"one": lambda _: iter([Damage("d", MemoryDisk, HARMLESS)])}
    )
    monkeypatch.setattr(campaign, "Truth", lambda _: Truth.__new__(Truth))
    (tally,) = campaign.run_campaign(sample, ["one"])
    assert tally.verdicts == {"wrong": 1}
    assert "IndexError: out of range" in tally.wrong[0]


def test_the_command_counts_and_ends():
    command = [sys.executable, "-m", "corruption", "--json", "--kind", "older files"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parent, check=True
    )
    told = json.loads(done.stdout)
    assert told["wrong"] == 0
    assert told["damages"] == sum(told["kinds"][0]["verdicts"].values())
    assert told["kinds"][0]["complete"] is True
