"""A short campaign: the product in simulated worlds, and the campaign itself under planted bugs.

The long one is `PYTHONPATH=tests python -m simulation`; a seed that fails here fails there.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator

import pytest
from simulation import modes
from simulation.__main__ import main, twice
from simulation.campaign import Verdict, run
from simulation.configuration import configure
from simulation.small import SMALL

from sagakeep import effects
from sagakeep.runtime import segment
from sagakeep.runtime.journal_files import JournalFiles
from sagakeep.simulation.disk import Inode, MemoryDisk

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "200"))
CAUGHT_WITHIN = 60


@pytest.fixture(autouse=True)
def _uncollected() -> Iterator[None]:
    """Worlds make garbage, and looking for it takes longer than they do."""
    gc.disable()
    yield
    gc.enable()


def broken_in(names: Iterable[str]) -> dict[str, Verdict]:
    verdicts = {name: run(modes.configuration_of(name)) for name in names}
    assert verdicts
    return {name: verdict for name, verdict in verdicts.items() if verdict.broken}


def test_every_invariant_holds_in_random_worlds() -> None:
    assert not broken_in(modes.random_worlds(0, SEEDS))


@pytest.mark.parametrize("small", sorted(SMALL))
def test_every_invariant_holds_in_a_small_world_that_nothing_befalls(small: str) -> None:
    assert not run(SMALL[small]).broken


def test_every_invariant_holds_wherever_a_process_ends() -> None:
    names = list(modes.exhaustive_worlds(["one"]))
    assert not broken_in(names[::4])


def test_every_invariant_holds_whichever_operation_fails() -> None:
    names = list(modes.fault_worlds(["one"]))
    assert not broken_in(names[::4])


def test_worlds_that_failed_once_hold_now() -> None:
    assert not broken_in(modes.corpus_worlds())


def test_a_seed_is_the_same_world_in_another_process() -> None:
    assert not twice(list(modes.random_worlds(0, 8)))


def test_a_seed_is_the_same_configuration_whoever_asks() -> None:
    assert configure(11) == configure(11)
    assert configure(11) != configure(12)


@pytest.mark.parametrize(
    "name",
    ["random/x", "other/1/2/3", "exhaustive/one/after-disk-1/fire", "faults/none/1-EIO-once/kill"],
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        modes.configuration_of(name)


# The campaign finds what it is there to find


def caught() -> str:
    """The first invariant that is broken within the seeds that a bug may take."""
    for name in modes.random_worlds(0, CAUGHT_WITHIN):
        verdict = run(modes.configuration_of(name))
        if verdict.broken:
            return verdict.broken[0].partition(":")[0]
    return ""


def test_a_sync_that_does_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inode, "sync", lambda _: None)
    assert caught()


def test_a_frame_that_is_not_synced_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = JournalFiles._write

    def hasty(files: JournalFiles, data: bytes, crc: int) -> None:
        monkeypatch.setattr(files._file, "fdatasync", lambda: None, raising=False)
        honest(files, data, crc)

    monkeypatch.setattr(JournalFiles, "_write", hasty)
    assert caught() == "I2"


def test_a_name_that_is_not_synced_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryDisk, "sync_directory", lambda _disk, _path: None)
    assert caught() in ("I1", "I18")


def test_a_key_for_each_attempt_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = effects.idempotency_key
    monkeypatch.setattr(
        effects, "idempotency_key", lambda saga_id, one: f"{honest(saga_id, one)}.{one.attempt}"
    )
    assert caught() == "I2"


def test_a_head_that_is_not_moved_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        segment, "stage_file", lambda disk, path, data: disk.open(f"{path}.tmp", create=True)
    )
    assert caught()


# The command


def test_the_command_shows_a_world_and_says_whether_it_holds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["show", "random/3"]) == 0
    assert "every invariant held" in capsys.readouterr().out


def test_the_command_counts_worlds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["random", "--seeds", "0:3", "--json"]) == 0
    assert '"worlds":3,"held":3' in capsys.readouterr().out


def test_the_command_tells_a_world_that_failed_and_how_to_see_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inode, "sync", lambda _: None)
    assert main(["random", "--seeds", "0:3"]) == 1
    told = capsys.readouterr().err
    assert "again: PYTHONPATH=tests python -m simulation show random/" in told
    assert "crash" in told
