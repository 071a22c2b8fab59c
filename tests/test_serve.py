"""The whole server: once as a process, as people start it, and once inside the test for its corners."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import trio
from demo_journal import order
from served import DEADLINE_S, LINE, Server

from sagakeep import serve as serve_module
from sagakeep.actors.recovery import recover
from sagakeep.bind import parse_bind
from sagakeep.complaint import complaint_of
from sagakeep.demo.ledger import read_ledger
from sagakeep.errors import ConfigurationError
from sagakeep.http.auth import Role, new_key
from sagakeep.runtime.disk import LocalFile
from sagakeep.serve import keep_serving, serve
from sagakeep.settings.config import Config, Limits


@pytest.fixture
def start(tmp_path):
    servers = []

    def start_one(*args, **environ):
        server = Server(tmp_path / "data", *args, **environ)
        servers.append(server)
        return server

    yield start_one
    for server in servers:
        server.close()


@pytest.fixture
def data(tmp_path):
    return str(tmp_path / "data")


def entries(data):
    return [(entry.key, entry.state) for entry in read_ledger(data)]


# As a process


def test_the_first_saga_works_without_any_other_program(start, data):
    server = start("--demo")
    assert server.ready() == 0
    status, saga = server.post(order("order-1042"), wait_s=20)
    assert (status, saga["status"]) == (201, "completed")
    reservation = saga["steps"][0]["result"]["reservationId"]
    assert reservation.startswith("res_")
    assert server.end() == 0
    assert [state for _, state in entries(data)] == ["done", "done", "done"]


def test_a_saga_that_fails_is_undone_in_reverse_order(start, data):
    server = start("--demo")
    server.ready()
    document = order("order-1", ship_order={"action": "fail"})
    status, saga = server.post(document, wait_s=20)
    assert (status, saga["status"]) == (201, "compensated")
    assert server.end() == 0
    assert entries(data) == [
        ("order-1/reserve_inventory/action/1", "undone"),
        ("order-1/process_payment/action/1", "undone"),
        ("order-1/ship_order/action/1", "refused"),
        ("order-1/process_payment/compensation/1", "done"),
        ("order-1/reserve_inventory/compensation/1", "done"),
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_attempt_that_runs_end(start, data, number):
    server = start("--demo")
    server.ready()
    waiting = {"action": "wait", "payload": {"seconds": 1}}
    server.post(order("slow", reserve_inventory=waiting))
    assert server.end(number) == 0
    assert ("slow/reserve_inventory/action/1", "done") in entries(data)


def test_a_second_signal_ends_at_once(start):
    server = start("--demo", SAGAKEEP_GRACE="3600")
    server.ready()
    waiting = {"action": "wait", "payload": {"seconds": 3600}, "timeout": 3600}
    server.post(order("slow", reserve_inventory=waiting))
    server.process.send_signal(signal.SIGTERM)
    server.wait_log("SIGTERM: stopping")
    assert server.end() == 1


def test_the_grace_period_ends(start):
    server = start("--demo", SAGAKEEP_GRACE="0.1")
    server.ready()
    waiting = {"action": "wait", "payload": {"seconds": 3600}, "timeout": 3600}
    server.post(order("slow", reserve_inventory=waiting))
    assert server.end() == 0


def test_a_second_process_on_the_directory_is_refused(start):
    first = start("--demo")
    first.ready()
    second = start("--demo")
    assert second.process.wait(DEADLINE_S) == 1
    text = second.text()
    assert "another process holds the data directory" in text
    assert f"locked by process {first.process.pid}" in text
    assert "Traceback" not in text


def test_an_address_in_use_is_told_without_a_trace(start, tmp_path):
    first = start("--demo")
    first.ready()
    command = [sys.executable, "-m", "sagakeep", "serve", "--data", str(tmp_path / "other")]
    command += ["--bind", f"127.0.0.1:{first.port}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"cannot listen at 127.0.0.1:{first.port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sagas_survive_a_kill_and_no_key_is_called_anew(start, data):
    first = start("--demo")
    first.ready()
    waiting = {"action": "wait", "payload": {"seconds": 1}}
    for at in range(20):
        failing = {"action": "fail"} if at % 2 else {}
        document = order(f"s-{at}", process_payment=waiting, ship_order=failing)
        assert first.post(document)[0] == 201
    first.end(signal.SIGKILL)
    second = start("--demo")
    assert second.ready() == 20
    for at in range(20):
        expected = "compensated" if at % 2 else "completed"
        status, saga = second.call("GET", f"/api/sagas/s-{at}")
        assert status == 200
        until_s = time.monotonic() + DEADLINE_S
        while saga["status"] != expected:
            assert time.monotonic() < until_s, saga
            saga = second.call("GET", f"/api/sagas/s-{at}")[1]
    assert second.end() == 0
    keys = [key for key, _ in entries(data)]
    steps = ("reserve_inventory", "process_payment", "ship_order")
    undone = ("process_payment", "reserve_inventory")
    expected = {f"s-{at}/{step}/action/1" for at in range(20) for step in steps}
    expected |= {f"s-{at}/{step}/compensation/1" for at in range(1, 20, 2) for step in undone}
    assert sorted(keys) == sorted(expected)
    verified = subprocess.run(
        [sys.executable, "-m", "sagakeep", "verify", data],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "all good" in verified.stdout


def test_the_events_of_a_directory_in_use_are_printed(start, data):
    server = start("--demo")
    server.ready()
    server.post(order("order-1"), wait_s=20)
    command = [sys.executable, "-m", "sagakeep", "events", data, "order-1"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    views = [json.loads(line) for line in printed.splitlines()]
    _, shown = server.call("GET", "/api/sagas/order-1/events?limit=500")
    assert views == shown["events"]


def test_a_limit_of_the_configuration_holds(start):
    server = start("--demo", SAGAKEEP_LIMITS__STEPS_MAX="2", SAGAKEEP_LIMITS__BODY_BYTES_MAX="2000")
    server.ready()
    status, problem = server.post(order("order-1"))
    assert status == 422
    assert problem["errors"][0]["pointer"] == "/steps"
    assert server.post(order("order-1", ship_order={"payload": "x" * 2000}))[0] == 413


def test_with_keys_the_server_asks_who_it_is(start, tmp_path):
    key, sha256 = new_key(Role.OPERATOR)
    path = tmp_path / "c.toml"
    path.write_text(f'[[auth.keys]]\nname = "ann"\nsha256 = "{sha256}"\nrole = "operator"')
    server = start("--demo", "--config", str(path))
    server.ready()
    assert server.post(order("order-1"))[0] == 401
    status, _ = server.call(
        "POST", "/api/sagas", order("order-1"), Authorization=f"Bearer {key}", Prefer="wait=20"
    )
    assert status == 201


def test_a_service_of_the_configuration_replaces_that_of_the_demo(start, tmp_path):
    environ = {"SAGAKEEP_SERVICES__SHIPPING__URL": "http://127.0.0.1:1"}
    server = start("--demo", **environ)
    server.ready()
    _, saga = server.post(order("order-1", ship_order={"maxRetries": 0}), wait_s=20)
    assert saga["status"] == "compensated"
    assert "no connection" in saga["steps"][2]["error"]


# Inside the test


@pytest.fixture
async def running(nursery, tmp_path):
    """Start a server in this process; what it announces, and what ends when it does."""
    ended = trio.Event()

    async def start_one(config, *, demo=True):
        lines, receive = trio.open_memory_channel(1)

        async def run():
            await serve(config, demo=demo, announce=lines.send_nowait)
            ended.set()

        nursery.start_soon(run)
        with trio.fail_after(DEADLINE_S):
            return await receive.receive()

    start_one.ended = ended
    return start_one


async def ends(running):
    os.kill(os.getpid(), signal.SIGTERM)
    with trio.fail_after(DEADLINE_S):
        await running.ended.wait()


async def test_a_server_ends_in_order_at_a_signal(running, tmp_path):
    line = await running(Config(bind="127.0.0.1:0", data=str(tmp_path / "data"), grace_s=5))
    assert LINE.fullmatch(line)
    await ends(running)


async def test_a_server_without_services_says_so(running, tmp_path, caplog):
    config = Config(bind=f"unix:{tmp_path}/socket", data=str(tmp_path / "data"))
    line = await running(config, demo=False)
    assert f"listening on unix:{tmp_path}/socket" in line
    assert "no service is configured: every saga will be refused" in caplog.messages
    await ends(running)


async def test_a_host_by_its_own_address_is_served(running, tmp_path):
    line = await running(Config(bind="[::1]:0", data=str(tmp_path / "data")))
    port = int(re.search(r"http://\[::1\]:(\d+)", line)[1])
    stream = await trio.open_tcp_stream("::1", port)
    async with stream:
        await stream.send_all(f"GET /api/sagas HTTP/1.1\r\nHost: [::1]:{port}\r\n\r\n".encode())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
    await ends(running)


async def get(line, path):
    """Ask the server of an announced or logged line; returns the head of its reply."""
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)", line)[1])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return await stream.receive_some()


async def test_the_server_answers_503_while_it_recovers(nursery, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    may_recover, lines = trio.Event(), []

    async def recover_later(*args):
        await may_recover.wait()
        return await recover(*args)

    monkeypatch.setattr("sagakeep.actors.engine.recover", recover_later)
    config = Config(bind="127.0.0.1:0", data=str(tmp_path / "data"))
    ended = trio.Event()

    async def run():
        await serve(config, demo=True, announce=lines.append)
        ended.set()

    nursery.start_soon(run)
    with trio.fail_after(DEADLINE_S):
        while not (listening := [one for one in caplog.messages if "listening on" in one]):
            await trio.lowlevel.checkpoint()
        assert (await get(listening[0], "/api/sagas")).startswith(b"HTTP/1.1 503")
        assert (await get(listening[0], "/api/sagas/health")).startswith(b"HTTP/1.1 503")
        assert not lines
        may_recover.set()
        while not lines:
            await trio.lowlevel.checkpoint()
        assert (await get(lines[0], "/api/sagas/health")).startswith(b"HTTP/1.1 200")
        os.kill(os.getpid(), signal.SIGTERM)
        await ended.wait()


async def test_a_journal_that_breaks_ends_the_server(tmp_path, monkeypatch):
    def break_disk(line):
        def fail(self):
            raise OSError(errno.EIO, "the disk is gone")

        monkeypatch.setattr(LocalFile, "fdatasync", fail)
        nursery.start_soon(post, line)

    async def post(line):
        port = int(LINE.fullmatch(line)[1])
        body = json.dumps(order("order-1")).encode()
        head = f"POST /api/sagas HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            replies.append(await stream.receive_some())

    replies = []
    config = Config(bind="127.0.0.1:0", data=str(tmp_path / "data"))
    async with trio.open_nursery() as nursery:
        with trio.fail_after(DEADLINE_S), pytest.raises(ExceptionGroup) as caught:
            await serve(config, demo=True, announce=break_disk)
    complaint = complaint_of(caught.value)
    assert complaint.what == "the journal could not be written, so the process ends"
    assert "the disk is gone" in complaint.why
    assert not any(reply.startswith(b"HTTP/1.1 201") for reply in replies)


class FailingServer:
    """Stands for `serve_http`; fails so often once it has listened, then serves."""

    def __init__(self, failures):
        self.failures = failures
        self.binds = []
        self.serving = trio.Event()

    async def __call__(self, app, bind, *, stopping, task_status, **_):
        self.binds.append(bind)
        task_status.started([f"http://127.0.0.1:{4000 + len(self.binds)}"])
        if len(self.binds) <= self.failures:
            raise ExceptionGroup("http", [RuntimeError("broken")])
        self.serving.set()
        await stopping.wait()


async def test_a_server_that_fails_is_started_again_at_its_port(
    nursery, monkeypatch, autojump_clock
):
    failing = FailingServer(failures=2)
    monkeypatch.setattr(serve_module, "serve_http", failing)
    stopping = trio.Event()

    async def keep(task_status):
        await keep_serving(None, parse_bind("127.0.0.1:0"), Config(), stopping, task_status)

    assert await nursery.start(keep) == ["http://127.0.0.1:4001"]
    await failing.serving.wait()
    assert [bind.port for bind in failing.binds] == [0, 4001, 4001]
    stopping.set()


async def test_a_server_that_fails_while_it_stops_is_not_started_again(
    nursery, monkeypatch, autojump_clock
):
    failing = FailingServer(failures=9)
    monkeypatch.setattr(serve_module, "serve_http", failing)
    stopping = trio.Event()

    async def keep(task_status):
        await keep_serving(None, parse_bind("127.0.0.1:5"), Config(), stopping, task_status)

    await nursery.start(keep)
    stopping.set()
    await trio.testing.wait_all_tasks_blocked()
    assert len(failing.binds) == 1


async def test_a_server_that_never_listened_is_an_error(monkeypatch):
    async def refuse(*_args, **_more):
        raise ConfigurationError("bind: cannot listen")

    monkeypatch.setattr(serve_module, "serve_http", refuse)
    with pytest.raises(ConfigurationError):
        await keep_serving(None, parse_bind("127.0.0.1:0"), Config(limits=Limits()), trio.Event())
