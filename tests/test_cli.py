from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import tomllib

import pytest
from click.testing import CliRunner
from demo_journal import fill

from sagakeep.cli import _announce, main
from sagakeep.complaint import complaint_of
from sagakeep.errors import (
    ConfigurationError,
    DiskFull,
    JournalBroken,
    JournalCorrupt,
    JournalError,
    JournalLocked,
    SagakeepError,
    SagaNotFound,
)
from sagakeep.offline.event_listing import list_events
from sagakeep.settings.sources import load_config


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli") / "data"
    fill(str(directory))
    return str(directory)


@pytest.fixture
def damaged(filled, tmp_path):
    directory = shutil.copytree(filled, tmp_path / "data")
    (path,) = (directory / "wal").iterdir()
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    return str(directory)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(*args, **environ):
    return CliRunner(env=environ).invoke(main, args)


# Usage


@pytest.mark.parametrize(
    "args",
    [
        ["sevre"],
        ["serve", "--prot"],
        ["serve", "--bind", "nonsense"],
        ["serve", "--bind", "127.0.0.1:99999"],
        ["serve", "--config", "missing.toml"],
        ["verify"],
        ["verify", "missing"],
        ["events", "missing"],
        ["key", "new"],
        ["key", "new", "--role", "king"],
        ["key", "new", "--role", "admin", "--name", "a b"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(args):
    result = run(*args)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["serve", "--help"], ["key", "new", "-h"]])
def test_help_is_printed(args):
    result = run(*args)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Usage: " in result.stdout


def test_the_version_is_printed():
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("sagakeep")


@pytest.mark.parametrize("found", [True, False])
def test_the_version_is_that_of_the_installed_distribution(monkeypatch, found):
    def version(name):
        if not found:
            raise importlib_metadata.PackageNotFoundError(name)
        return "1.2.3"

    import importlib.metadata as importlib_metadata

    monkeypatch.setattr(importlib_metadata, "version", version)
    expected = "sagakeep 1.2.3" if found else "sagakeep, from a checkout that is not installed"
    assert run("--version").stdout.strip() == expected


# Verify


def test_verify_counts_what_is_good(filled):
    result = run("verify", filled)
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{filled}: 1 segments, ")
    assert first.endswith(" events: all good")
    assert second == "sagas: 2 compensated, 1 completed, 1 failed; 1 deleted"


def test_verify_names_the_place_of_the_damage(damaged):
    result = run("verify", damaged)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the journal is damaged" in result.stderr
    assert f"{damaged}/wal/" in result.stderr
    assert ".seg: offset 128: " in result.stderr
    assert "Traceback" not in result.stderr


def test_verify_refuses_a_directory_without_a_journal(tmp_path):
    result = run("verify", str(tmp_path))
    assert result.exit_code == 1
    assert "there is no journal here" in result.stderr


def test_verify_tells_of_a_torn_tail_and_of_what_was_ignored(filled, tmp_path):
    directory = shutil.copytree(filled, tmp_path / "data")
    (directory / "wal" / "notes.txt").write_text("mine")
    path = next((directory / "wal").glob("*.seg"))
    with path.open("ab") as file:
        file.write(b"\xff" * 10)
    result = run("verify", str(directory))
    assert result.exit_code == 0
    assert "bytes at the end were never finished, which is normal" in result.stdout
    assert "notes.txt is no file of the journal and was ignored" in result.stderr


# Events


def test_events_are_json_lines_in_a_pipe(filled):
    result = run("events", filled)
    assert result.exit_code == 0
    views = [json.loads(line) for line in result.stdout.splitlines()]
    assert {view["sagaID"] for view in views} == {"done", "undone", "refunded", "deleted", "held"}
    assert views[0]["type"] == "saga_created"


def test_events_of_one_saga_are_in_order(filled):
    views = [json.loads(line) for line in run("events", filled, "undone").stdout.splitlines()]
    assert {view["sagaID"] for view in views} == {"undone"}
    assert [view["seq"] for view in views] == list(range(1, len(views) + 1))
    assert views[-1]["type"] == "saga_compensated"


def test_what_is_sensitive_is_not_printed(filled):
    result = run("events", filled)
    assert "prod_123" not in result.stdout
    assert "[redacted]" in result.stdout


def test_an_unknown_saga_is_told(filled):
    result = run("events", filled, "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no saga 'nobody'" in result.stderr


def test_what_is_before_the_damage_is_printed(damaged):
    result = run("events", damaged)
    assert result.exit_code == 1
    assert "the journal is damaged" in result.stderr


@pytest.mark.parametrize(("saga", "titles"), [("", "SAGA"), ("undone", "SEQ")])
def test_events_are_columns_on_a_terminal(filled, saga, titles):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sagakeep", "events", filled, *([saga] if saga else [])]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "300"}
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environ) as process:
        os.close(theirs)
        printed = b""
        try:
            while chunk := os.read(ours, 65536):
                printed += chunk
        except OSError:  # how a terminal whose other side is closed ends
            pass
        assert process.wait(30) == 0
    os.close(ours)
    first, *rest = printed.decode().splitlines()
    assert titles in first
    assert any("step_failed" in line and "always refuses" in line for line in rest)
    assert b"\x1b[" in printed


@pytest.mark.parametrize("saga", ["", "undone"])
def test_columns_are_as_wide_as_they_must_be(filled, saga, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    list_events(filled, saga)
    first, *rest = terminal.getvalue().splitlines()
    assert ("SAGA" in first) is (not saga)
    assert all(len(line) >= first.index("STEP") for line in rest)


def test_nobody_who_reads_is_no_failure_with_a_trace(filled):
    command = f"{sys.executable} -m sagakeep events {filled} | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


# Key and config


@pytest.mark.parametrize(("args", "name"), [([], "operator"), (["--name", "ann"], "ann")])
def test_a_new_key_is_printed_once_with_its_entry(args, name, tmp_path):
    result = run("key", "new", "--role", "operator", *args)
    assert result.exit_code == 0
    key, _, entry = result.stdout.partition("\n")
    assert key.startswith("sgk_")
    (configured,) = tomllib.loads(entry)["auth"]["keys"]
    sha256 = hashlib.sha256(key.encode()).hexdigest()
    assert configured == {"name": name, "sha256": sha256, "role": "operator"}
    path = tmp_path / "c.toml"
    path.write_text(entry)
    assert load_config(str(path), {}, {}).auth.keys[0].name == name


def test_the_effective_configuration_is_shown_with_origins_and_without_secrets(tmp_path):
    path = tmp_path / "c.toml"
    sha256 = "ab" * 32
    path.write_text(
        '[services."a.b"]\nurl = "http://h"\nheaders = {Key = "hunter2"}\n'
        f'[[auth.keys]]\nname = "ann"\nsha256 = "{sha256}"\nrole = "admin"'
    )
    result = run("config", "show", "--config", str(path), SAGAKEEP_DATA="/there")
    assert result.exit_code == 0
    lines = {
        tuple(part.strip() for part in line.split(" # ")) for line in result.stdout.splitlines()
    }
    assert ('bind = "127.0.0.1:8080"', "default") in lines
    assert ('data = "/there"', "SAGAKEEP_DATA") in lines
    assert ('services."a.b".url = "http://h"', str(path)) in lines
    assert ('services."a.b".headers.Key = "***"', str(path)) in lines
    assert ('auth.keys[0].name = "ann"', str(path)) in lines
    assert ('auth.keys[0].sha256 = "***"', str(path)) in lines
    assert "hunter2" not in result.stdout
    assert sha256 not in result.stdout


@pytest.mark.parametrize("command", [["serve"], ["config", "show"]])
def test_a_wrong_configuration_is_a_failure_that_lists_all_faults(command, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('bind = "0.0.0.0:1"\ngrase = 1')
    result = run(*command, "--config", str(path))
    assert result.exit_code == 1
    assert "the configuration cannot be used" in result.stderr
    assert f"  bind ({path}): " in result.stderr
    assert f'  grase ({path}): is an unknown field; did you mean "grace"?' in result.stderr
    assert "Traceback" not in result.stderr


# Complaints


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (ConfigurationError("x"), "the configuration cannot be used"),
        (JournalLocked("x"), "another process holds the data directory"),
        (JournalCorrupt("file", 5, "x"), "the journal is damaged"),
        (DiskFull("x"), "the disk is full"),
        (JournalBroken("x"), "the journal could not be written"),
        (JournalError("x"), "the data directory cannot be used"),
        (SagaNotFound("x"), "there is no such saga"),
        (SagakeepError("x"), "that did not work"),
        (PermissionError(13, "x"), "the system refused"),
        (ExceptionGroup("g", [ValueError(), ExceptionGroup("g", [DiskFull("x")])]), "the disk is"),
    ],
)
def test_an_error_of_operation_is_told_in_three_parts(error, what):
    complaint = complaint_of(error)
    first, why, remedy = str(complaint).split("\n")
    assert first.startswith(what)
    assert "x" in why
    assert remedy.strip()


def test_a_bug_is_no_complaint():
    assert complaint_of(ValueError("x")) is None
    assert complaint_of(ExceptionGroup("g", [ValueError("x")])) is None


def test_a_bug_is_raised(monkeypatch, filled):
    def broken(*_):
        raise ExceptionGroup("g", [ValueError("x")])

    monkeypatch.setattr("sagakeep.offline.audit.Audit.summary", broken)
    result = run("verify", filled)
    assert isinstance(result.exception, ExceptionGroup)


def test_a_line_that_nobody_reads_is_no_reason_to_end(monkeypatch):
    def broken(_line):
        raise BrokenPipeError

    monkeypatch.setattr("click.echo", broken)
    monkeypatch.setattr(sys, "stdout", None)
    _announce("sagakeep listening")
    sys.stdout.close()
