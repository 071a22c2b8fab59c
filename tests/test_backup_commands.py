"""The commands `backup` and `restore`, and a backup of a server that runs."""

from __future__ import annotations

import io
import json
import shutil
import sys

import pytest
import trio
from click.testing import CliRunner
from demo_journal import fill, order

from sagakeep.cli import main
from sagakeep.demo.services import demo_services
from sagakeep.offline.audit import Audit
from sagakeep.offline.backup import take_backup
from sagakeep.offline.backup_listing import list_backup
from sagakeep.offline.restore import restore_backup
from sagakeep.orchestrator import Ports, open_orchestrator
from sagakeep.runtime.disk import LocalDisk
from sagakeep.validation import parse_definition


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    directory = tmp_path_factory.mktemp("backups") / "data"
    fill(str(directory))
    return str(directory)


def run(*args, **environ):
    return CliRunner(env=environ).invoke(main, [str(one) for one in args])


def test_a_backup_says_its_point_and_a_restore_what_follows(filled, tmp_path):
    backup, data = tmp_path / "backup", tmp_path / "restored"
    made = run("backup", backup, "--data", filled)
    assert made.exit_code == 0
    first, point, files = made.stdout.splitlines()
    assert first == f"{backup}: a backup of {filled}, verified: all good"
    assert point.startswith("up to position ")
    assert point.endswith("Z: 4 sagas, 1 of them live; 1 deleted")
    assert files.startswith("4 files (")
    restored = run("restore", backup, data)
    assert restored.exit_code == 0
    lines = restored.stdout.splitlines()
    assert lines[1] == point
    assert lines[2].startswith("when a server is started on it 1 saga goes on from there")
    assert run("verify", data).exit_code == 0


def test_both_print_json_for_programs(filled, tmp_path):
    backup = tmp_path / "backup"
    made = json.loads(run("backup", backup, "--json", SAGAKEEP_DATA=filled).stdout)
    assert made.keys() == {
        *("good", "position", "time", "sagas", "live", "deleted"),
        *("copiedFiles", "copiedBytes", "keptFiles", "keptBytes"),
    }
    assert made["copiedFiles"] == 4
    earlier = run("restore", backup, tmp_path / "r", "--json", "--until", made["position"] - 1)
    told = json.loads(earlier.stdout)
    assert told["position"] < told["backup"]["position"] == made["position"]
    assert told["backup"]["time"] == made["time"]
    plain = run("restore", backup, tmp_path / "s", "--until", made["position"] - 1)
    assert f"the backup goes on to position {made['position']}, " in plain.stdout


def test_an_empty_journal_has_no_time(tmp_path):
    async def once():
        async with open_orchestrator(str(tmp_path / "data"), {}):
            pass

    trio.run(once)
    made = run("backup", tmp_path / "backup", "--data", tmp_path / "data")
    assert ", empty: 0 sagas, 0 of them live; 0 deleted" in made.stdout
    restored = run("restore", tmp_path / "backup", tmp_path / "restored")
    assert "0 sagas go on" in restored.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["backup"],
        ["backup", "b", "--data", "missing"],
        ["backup", "b", "--until", "noon"],
        ["restore", "missing", "r"],
        ["restore", "."],
    ],
)
def test_wrong_usage_ends_with_2(args):
    assert run(*args).exit_code == 2


def test_what_cannot_be_done_ends_with_1_and_says_why(filled, tmp_path):
    refused = run("restore", filled, tmp_path / "r")
    assert refused.exit_code == 1
    assert "is no backup: `sagakeep backup` makes one" in refused.stderr
    refused = run("backup", filled, "--data", filled)
    assert refused.exit_code == 1
    assert "is no backup, and has " in refused.stderr
    assert "what was there before is as it was" in refused.stderr
    (tmp_path / "nothing").mkdir()
    refused = run("backup", tmp_path / "b", "--data", tmp_path / "nothing")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "there is no journal here" in refused.stderr


def test_a_bar_is_shown_on_a_terminal_only(filled, tmp_path, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr("sagakeep.offline.backup.TOLD_EVERY", 1)
    monkeypatch.setenv("TERM", "xterm")
    list_backup(filled, str(tmp_path / "b"), None, as_json=False)
    assert "verifying" in shown.getvalue()
    shown.seek(0)
    shown.truncate()
    list_backup(filled, str(tmp_path / "b"), None, as_json=True)
    assert shown.getvalue() == ""


def test_a_server_is_backed_up_while_it_runs(tmp_path):
    """Its segments are rolled, archived and its snapshots replaced beside it."""
    data, backup = str(tmp_path / "data"), str(tmp_path / "backup")
    ports = Ports(segment_bytes=16 << 10, snapshot_every_bytes=32 << 10, archive_behind_bytes=1)
    known = []

    async def keep_busy(sagas):
        for number in range(10_000):
            document = order(f"order-{number}")
            await sagas.start(parse_definition(document, sagas.services))
            known.append(document["id"])

    def check(acknowledged):
        restored = shutil.rmtree(tmp_path / "restored", ignore_errors=True) or tmp_path / "restored"
        restore_backup(LocalDisk(), backup, str(restored))
        there = {one.record.saga_id for one in Audit(LocalDisk(), str(restored))}
        assert set(acknowledged) <= there
        return len(there)

    async def run_server():
        async with (
            open_orchestrator(data, demo_services(data), ports) as sagas,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(keep_busy, sagas)
            counts = []
            while sagas.journal_statistics().archived < 6:
                acknowledged = list(known)
                await trio.to_thread.run_sync(take_backup, LocalDisk(), data, backup)
                counts.append(await trio.to_thread.run_sync(check, acknowledged))
            nursery.cancel_scope.cancel()
        assert counts == sorted(counts)
        assert counts[0] < counts[-1]

    trio.run(run_server)
