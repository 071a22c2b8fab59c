"""Short versions of the black box's campaigns; the long ones are in docs/reliability/ledger.md.

They run beside each other, for most of their time is waiting; each test looks at one when it has ended.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from blackbox import clock, ledger_page
from blackbox.ledger_page import PAGE, Run, add_run, next_seed, read_runs, read_sums, sum_rows
from blackbox.planted import PLANTS
from blackbox.soak import CAMPAIGNS, append, count_of, failures_of, run

ROOT = Path(__file__).parent.parent
END_S_MAX = 300.0  # a machine with much to do; usually it is a tenth

SHORT = {
    "forks": ["--count", "100"],
    "kills": ["--count", "3"],
    "syscalls": ["--count", "30"],
    "server_syscalls": ["--count", "2"],
    "full": ["--count", "1"],
    "descriptors": ["--count", "1"],
    "pause": ["--count", "2", "--pause", "3"],
    "clock": ["--count", "2"],
}


class Campaigns:
    """Processes of `python -m blackbox`, begun at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, label: str, *words: str) -> None:
        keep = str(self._folder / label)
        command = [sys.executable, "-m", "blackbox", *words, "--keep", keep, "--json"]
        environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"}
        self._processes[label] = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            start_new_session=True,
        )

    def end(self, label: str) -> dict[str, object]:
        """Wait until it has ended; return what it told."""
        stdout, stderr = self._processes[label].communicate(timeout=END_S_MAX)
        assert stdout, stderr.decode()
        told: dict[str, object] = json.loads(stdout)
        return told

    def close(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
            process.communicate()


@pytest.fixture(scope="module")
def campaigns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaigns]:
    begun = Campaigns(tmp_path_factory.mktemp("blackbox"))
    for name, words in SHORT.items():
        begun.begin(name, name, *words)
    for plant in PLANTS:
        begun.begin(f"plant-{plant}", "forks", "--count", "25", "--plant", plant)
    yield begun
    begun.close()


@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_and_nothing_is_done_twice(campaigns: Campaigns, name: str) -> None:
    told = campaigns.end(name)
    if told["skipped"]:
        pytest.skip(str(told["skipped"]))
    assert told["faults"] == []
    assert told["count"] == int(SHORT[name][1])


@pytest.mark.parametrize("plant", PLANTS)
def test_a_bug_that_is_planted_is_found(campaigns: Campaigns, plant: str) -> None:
    assert campaigns.end(f"plant-{plant}")["faults"]


def test_a_campaign_that_cannot_run_here_says_why(tmp_path: Path) -> None:
    """Without strace and libfaketime the campaigns that need them are passed over."""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}", "PATH": str(tmp_path)}
    for name in ("syscalls", "server_syscalls"):
        command = [sys.executable, "-m", "blackbox", name, "--keep", str(tmp_path), "--json"]
        told = json.loads(subprocess.run(command, env=environ, capture_output=True).stdout)
        assert told["skipped"] == "strace is not installed"
        assert told["count"] == 0


# The ledger


def test_the_sums_of_the_ledger_are_those_of_its_runs():
    text = PAGE.read_text()
    assert read_sums(text) == sum_rows(read_runs(text))


def test_every_run_of_the_ledger_is_of_a_campaign_that_can_be_repeated():
    text = PAGE.read_text()
    for one in read_runs(text):
        assert one.campaign in CAMPAIGNS
        assert one.units > 0
        assert len(one.date) == 10
        first, _, end = one.seeds.partition(":")
        assert int(first) <= int(end or first)


def test_the_page_tells_how_to_repeat_every_campaign():
    text = PAGE.read_text()
    for name, campaign in CAMPAIGNS.items():
        module = " ".join(campaign.command.split()[:2])
        assert f"| `{name}` | `{module}" in text, name


def ran(campaign: str = "kills", units: int = 3, seeds: str = "7", failures: int = 0) -> Run:
    return Run("2026-11-27", "abc1234", "2 cores", campaign, units, seeds, failures, 1_800)


def test_a_run_is_appended_and_summed():
    text = PAGE.read_text()
    before = read_runs(text)
    more = add_run(add_run(text, ran("x")), ran("x", 4, "8:12", 1))
    assert read_runs(more) == [*before, ran("x"), ran("x", 4, "8:12", 1)]
    assert read_sums(more)[-1] == "| x | 2 | 7 | 1 | 1.00 |"
    assert (next_seed(more, "x"), next_seed(more, "y")) == (13, 1)
    assert more.partition("## Sums")[0] == text.partition("## Sums")[0]


@pytest.mark.parametrize("text", ["", f"{ledger_page.RUN_HEAD}\n| --- |\n| a | b |\n"])
def test_a_page_that_is_none_is_refused(text):
    with pytest.raises(ValueError):
        read_runs(text)


def test_a_soak_runs_a_campaign_and_writes_it_down(tmp_path):
    page = tmp_path / "ledger.md"
    page.write_text(PAGE.read_text())
    told = run("forks", 5, 0.0001)
    assert append(page, "forks", told, 5) == 0
    row = read_runs(page.read_text())[-1]
    assert (row.campaign, row.units, row.seeds, row.failures) == ("forks", 2, "5", 0)


def test_a_campaign_that_ends_without_a_result_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setitem(CAMPAIGNS, "forks", CAMPAIGNS["forks"]._replace(command="-m blackbox no"))
    told = run("forks", 1, 1.0)
    assert (count_of(told), failures_of(told)) == (0, 1)


def test_every_range_of_seeds_is_as_long_as_what_was_done():
    assert CAMPAIGNS["worlds"].seeds(5, 10) == "5:15"
    assert CAMPAIGNS["worlds"].words(5, 0.001)[-2:] == ["5:205", "--json"]
    assert CAMPAIGNS["corruption"].words(1, 0.1)[-3:] == ["--stride", "10", "--json"]


def test_the_clock_can_be_moved_where_libfaketime_is_installed():
    if not shutil.which("faketime"):
        pytest.skip("libfaketime is not installed")
    assert Path(clock.library()).exists()
