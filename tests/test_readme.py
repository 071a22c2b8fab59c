"""The README's commands and programs do what it says.

The 60-second start is run as it is printed, by a shell, in a temporary directory that looks like a
checkout that was set up: only the port is another one, and `make run` uses this interpreter. Whoever reads it
starts the server in one terminal, so `make run` goes to the background here; every other block must succeed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest
from pages import ROOT, blocks, section

README = (ROOT / "README.md").read_text()
START = section(README, "Sixty seconds")
PORT_OF_README = "8080"
DEADLINE_S = 60.0


class Terminal:
    """A directory, a port, and the commands that are run there."""

    def __init__(self, directory):
        self.directory = directory
        self.port = _free_port()
        self.log = directory / "server.log"
        binaries = directory / ".venv" / "bin"
        binaries.mkdir(parents=True)
        python = f"exec {shlex.quote(sys.executable)}"
        _write_script(binaries / "sagakeep", f'{python} -m sagakeep "$@"')
        _write_script(binaries / "python", f'{python} "$@"')
        directory.joinpath("Makefile").symlink_to(ROOT / "Makefile")
        self.environ = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith("SAGAKEEP_")
            },
            "PYTHONPATH": str(ROOT),
            "SAGAKEEP_BIND": f"127.0.0.1:{self.port}",
        }
        self.server = None

    def run(self, text):
        """Run a block; return what it prints."""
        if text.strip() == "make run":
            return self.make_run()
        text = text.replace(f"127.0.0.1:{PORT_OF_README}", f"127.0.0.1:{self.port}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}\n{self.log.read_text()}"
        return done.stdout

    def make_run(self):
        """Start the server; return its first line. Setting up is what the continuous integration tests."""
        self.end()
        command = ["make", "--silent", "--old-file=setup", f"BIN={self._binaries()}", "run"]
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        line = self.server.stdout.readline().decode()
        assert "listening" in line, self.log.read_text()
        return line

    def end(self):
        """End the server and its make, if they run, and nothing else."""
        if self.server is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()
        self.server.stdout.close()
        self.server = None

    def _binaries(self):
        return self.directory / ".venv" / "bin"


def _free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def _write_script(path, line):
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def terminal(tmp_path):
    if not all(_is_there(tool) for tool in ("make", "bash", "curl")):
        pytest.skip("needs make, bash and curl")
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.end()


def _is_there(tool):
    return any(os.access(f"{place}/{tool}", os.X_OK) for place in os.get_exec_path())


def test_the_sixty_seconds_do_what_they_say(terminal):
    run, order, failing, kill, again, check = [block.text for block in blocks(START, "sh")]
    told = [block.text.strip() for block in blocks(START, "")]

    assert "0 sagas recovered" in terminal.run(run)
    assert terminal.run(order).strip() == told[0]

    printed = terminal.run(failing)
    status, _, history = printed.partition("\n")
    events = [json.loads(line) for line in history.splitlines()]
    failed = [event["type"] for event in events].index("step_failed")
    assert status == "201"
    assert [(event["type"], event["stepID"]) for event in events[failed:]] == [
        ("step_failed", "ship_order"),
        ("saga_compensating", ""),
        ("compensation_started", "process_payment"),
        ("step_compensated", "process_payment"),
        ("compensation_started", "reserve_inventory"),
        ("step_compensated", "reserve_inventory"),
        ("saga_compensated", ""),
    ]

    terminal.run(kill)
    assert terminal.server.wait(DEADLINE_S) != 0, "make says that it was killed"
    assert "1000 sagas recovered" in terminal.run(again)

    statistics, _, verified = _until_all_rest(terminal, check).partition("\n")
    told_statistics = told[1].partition(", ...")[0]
    assert statistics.startswith(told_statistics)
    assert "all good" in verified
    _assert_keys_are_the_first_ones(terminal)


def _until_all_rest(terminal, check):
    """The README sleeps for long enough on any machine; here one looks more often."""
    sleep = re.search(r"^sleep \d+\n", check, re.MULTILINE)
    assert sleep, "the README waits before it looks"
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        printed = terminal.run(check.replace(sleep[0], "sleep 1\n"))
        if '"runningSagas":0,' in printed:
            return printed
    raise AssertionError(f"sagas still run: {printed}")


def _assert_keys_are_the_first_ones(terminal):
    """Nothing was called under a new key: the ledger has one entry for each step of each saga."""
    from sagakeep.demo.ledger import read_ledger

    entries = read_ledger(str(terminal.directory / "sagakeep-data"))
    slow = [entry for entry in entries if not entry.saga_id.startswith("order-")]
    assert len(slow) == 3 * 1000
    assert {entry.key.rpartition("/")[2] for entry in slow} == {"1"}
    assert {entry.state for entry in slow} == {"done"}


def run_python(text, directory):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_of_the_readme_prints_what_it_says(tmp_path):
    (block,) = blocks(README, "python")
    (told,) = re.findall(r"print\(.*\)  # (.+)", block.text)
    assert run_python(block.text, tmp_path).strip() == told


def test_the_program_of_the_api_page_holds_all_of_its_claims(tmp_path):
    (block,) = blocks((ROOT / "docs/api.md").read_text(), "python")
    assert "assert" in block.text
    run_python(block.text, tmp_path)


# The services of the guide


@pytest.fixture
def guide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    over_http, in_python = blocks((ROOT / "docs/guide.md").read_text(), "python")
    return over_http.text, in_python.text


class Payment:
    """The guide's service over HTTP, called as its server would."""

    def __init__(self, text):
        self._names = {}
        exec(text, self._names)

    async def call(self, phase, epoch=1, *, amount=5, step="charge"):
        headers = {
            "idempotency-key": f"order-1/{step}/{phase.replace('probe', 'action')}/{epoch}",
            "saga-id": "order-1",
            "saga-step": step,
            "saga-phase": phase,
            "saga-action-key": f"order-1/{step}/action/{epoch}",
        }
        scope = {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
        body = json.dumps({"amount": amount}).encode()
        parts = [{"body": body[:4], "more_body": True}, {"body": body[4:]}]
        sent = []

        async def receive():
            return parts.pop(0)

        async def send(message):
            sent.append(message)

        await self._names["app"](scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    def close(self):
        self._names["db"].close()


@pytest.fixture
def payment(guide):
    payment = Payment(guide[0])
    yield payment
    payment.close()


async def test_the_service_of_the_guide_works_once_for_each_key(payment):
    first = await payment.call("action")
    assert first[0] == 200
    assert await payment.call("action", amount=6) == first
    assert await payment.call("action", step="other") != first


async def test_the_service_of_the_guide_undoes_once(payment):
    await payment.call("action")
    assert await payment.call("compensation") == (200, {"refunded": True})
    assert await payment.call("compensation") == (200, {"refunded": True})
    assert (await payment.call("action"))[0] == 409


async def test_the_service_of_the_guide_does_an_undone_step_again_under_a_new_key(payment):
    await payment.call("action")
    await payment.call("compensation")
    assert (await payment.call("action", 2))[0] == 200
    assert await payment.call("compensation", 2) == (200, {"refunded": True})


async def test_the_service_of_the_guide_bars_an_action_that_its_undo_overtook(payment):
    assert await payment.call("compensation") == (200, {"refunded": False})
    assert (await payment.call("action"))[0] == 409


async def test_the_service_of_the_guide_answers_a_probe_and_keeps_to_it(payment):
    _, result = await payment.call("action")
    assert await payment.call("probe") == (200, {"outcome": "done", "result": result})
    await payment.call("compensation")
    assert await payment.call("probe") == (200, {"outcome": "not_done"})
    assert await payment.call("probe", step="other") == (200, {"outcome": "not_done"})
    assert (await payment.call("action", step="other"))[0] == 409
    assert (await payment.call("action", 2, step="other"))[0] == 200


async def test_the_service_in_python_of_the_guide_is_one(guide):
    from sagakeep.python_caller import PythonCaller
    from sagakeep.service import Call, Outcome

    names = {}
    exec(guide[1], names)
    caller = PythonCaller(names["service"])

    async def charge(amount):
        call = Call(
            "s", "s", "t", "payment", "charge", "action", 1, "s/t/action/1", {"amount": amount}, 1
        )
        return await caller.attempt(call)

    assert (await charge(10)).outcome is Outcome.DONE
    assert (await charge(2000)).permanent


def test_the_sagas_of_the_guide_can_be_posted(guide):
    from sagakeep.validation import parse_definition

    (block,) = blocks((ROOT / "docs/guide.md").read_text(), "json")
    parse_definition(json.loads(block.text), {"inventory", "payment", "shipping"})
