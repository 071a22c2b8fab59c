"""`sagakeep demo`: the show is played for real, with a server that is killed and comes back."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios

import pytest
from click.testing import CliRunner
from pages import ROOT
from rich.console import Console
from served import DEADLINE_S

from sagakeep.cli import main
from sagakeep.commands import demo_server
from sagakeep.commands.demo_picture import picture
from sagakeep.commands.demo_sagas import SAGAS, UNLUCKY, demo_sagas, saga_id_of
from sagakeep.commands.demo_server import DemoServer
from sagakeep.commands.demo_show import Show
from sagakeep.commands.keyboard import Keyboard
from sagakeep.errors import ServerUnreachable
from sagakeep.validation import parse_definition

KILLED = re.compile(r"kill -9 (\d+): the server is dead, and (\d+) sagas had a call in flight")
BACK = re.compile(
    r"process (\d+) read the journal in [\d.]+ s, .*: (\d+) sagas .* recovered and go on,"
    r" (\d+) of (\d+) that had ended are as they were"
)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_plain_show_kills_its_server_and_loses_nothing():
    result = CliRunner().invoke(main, ["demo", "--plain", "--pace", "0.3"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    killed = next(filter(None, map(KILLED.fullmatch, lines)))
    back = next(filter(None, map(BACK.fullmatch, lines)))
    assert killed[1] != back[1]
    assert int(back[2]) >= int(killed[2]) > 0
    assert back[3] == back[4]
    ends = [line for line in lines if re.fullmatch(r"order-\d\d: (completed|compensated)", line)]
    assert len(set(ends)) == len(ends) == SAGAS
    unlucky = [line for line in lines if line.startswith(f"{saga_id_of(UNLUCKY)}: ")]
    assert "ship was refused" in unlucky[0]
    assert unlucky[-1].endswith(": compensated")
    assert lines[-1] in (ROOT / "README.md").read_text()
    assert not is_alive(int(back[1]))


def test_a_show_without_the_environment_of_its_user_is_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("SAGAKEEP_CONFIG", str(tmp_path / "nowhere.toml"))
    server = DemoServer(str(tmp_path))
    try:
        assert server.start().recovered == 0
        assert server.client.get("/api/sagas/stats")["totalSagas"] == 0
    finally:
        server.close()
    server.close()


def test_a_server_that_does_not_start_is_told_with_its_words(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ServerUnreachable, match=r"the show did not start: [\s\S]*data"):
        DemoServer(str(tmp_path)).start()


def test_the_sagas_of_the_show_are_valid_and_one_of_them_fails():
    documents = demo_sagas(1.5)
    services = {"inventory", "payment", "shipping"}
    assert len({parse_definition(one, services).id for one in documents}) == SAGAS
    failing = [one["id"] for one in documents if one["steps"][-1]["action"] == "fail"]
    assert failing == [saga_id_of(UNLUCKY)]


def test_a_server_that_does_not_end_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(demo_server, "STOP_S", 0.05)
    server = DemoServer(str(tmp_path))
    try:
        pid = server.start().pid
        os.kill(pid, signal.SIGSTOP)
    finally:
        server.close()
    assert not is_alive(pid)


def test_the_picture_has_a_dot_for_each_step_and_fits_on_24_lines(tmp_path):
    server = DemoServer(str(tmp_path))
    show = Show(server)
    try:
        show.begin(60)
        show.look()
    finally:
        server.close()
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(picture(show))
    lines = console.export_text().splitlines()
    assert len(lines) <= 24
    text = "\n".join(lines)
    assert text.count("◐") == SAGAS
    assert text.count("·") == 3 * SAGAS
    assert all(one["id"] in text for one in show.sagas)


def test_the_keyboard_gives_single_keys_and_leaves_the_terminal_as_it_was(monkeypatch):
    leader, follower = pty.openpty()
    with open(follower) as stdin, open(leader, "wb", buffering=0) as keys:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(follower)
        with Keyboard() as keyboard:
            assert keyboard.wait(0) == ""
            keys.write(b"k")
            assert keyboard.wait(DEADLINE_S) == "k"
        assert termios.tcgetattr(follower) == before


class Terminal:
    """`sagakeep demo` on a terminal of its own."""

    def __init__(self, *args):
        self.leader, follower = pty.openpty()
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "24"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sagakeep", "demo", *args],
            stdin=follower,
            stdout=follower,
            env=environ,
        )
        os.close(follower)
        self.written = b""

    def read_until(self, text):
        while text not in self.written:
            assert select.select([self.leader], [], [], DEADLINE_S)[0], self.written[-2000:]
            self.written += os.read(self.leader, 65536)

    def end(self):
        """Read what comes and wait for the end; return the exit code."""
        while select.select([self.leader], [], [], DEADLINE_S)[0]:
            try:
                self.written += os.read(self.leader, 65536)
            except OSError:
                break
        return self.process.wait(DEADLINE_S)

    def close(self):
        self.process.terminate()
        self.process.wait()
        os.close(self.leader)


@pytest.fixture
def terminal():
    terminal = Terminal("--pace", "1")
    yield terminal
    terminal.close()


def server_pid(terminal):
    return int(re.findall(rb"process (\d+)", terminal.written)[-1])


def test_a_key_kills_the_server_of_a_live_show_and_another_ends_it(terminal):
    terminal.read_until("●".encode())
    first = server_pid(terminal)
    os.write(terminal.leader, b"k")
    terminal.read_until(b"recovered and go on")
    assert f"kill -9 {first}".encode() in terminal.written
    second = server_pid(terminal)
    assert second != first
    os.write(terminal.leader, b"q")
    assert terminal.end() == 0
    assert b"\x1b[32m" in terminal.written  # a step that is done is green
    assert not is_alive(first)
    assert not is_alive(second)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_show_and_its_server(terminal, number):
    terminal.read_until(b"q ends")
    terminal.process.send_signal(number)
    assert terminal.end() == 128 + number
    assert not is_alive(server_pid(terminal))
