from __future__ import annotations

import http.client
import json
import re
import resource
import select
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from fuzz.server import ENVIRON, ROOT

from sagakeep.process import (
    CONNECTIONS_MIN,
    DESCRIPTORS_OF_OUR_OWN,
    keep_no_core,
    room_for_connections,
)

ROOM = """
import resource, sys
from sagakeep.process import keep_no_core, room_for_connections
soft, hard, wanted, calls = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
keep_no_core()
room = room_for_connections(wanted, calls)
print(room, resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_CORE)[0])
"""
OWN = DESCRIPTORS_OF_OUR_OWN
DEADLINE_S = 60


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "calls", "room", "soft_then"),
    [
        (400, 500, 300, 400 - OWN - 300, 300, 400),
        (399, 500, 300, 400 - OWN - 300, 300, 400),
        (100, 400, 300, 400 - OWN - 300, 300, 400),
        (100, 399, 300, 400 - OWN - 300, 299, 399),
        (100, 100, 300, 64, CONNECTIONS_MIN, 100),
    ],
)
def test_connections_leave_descriptors_for_the_rest(
    soft: int, hard: int, wanted: int, calls: int, room: int, soft_then: int
) -> None:
    command = [sys.executable, "-c", ROOM, *map(str, (soft, hard, wanted, calls))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(room), str(soft_then), "0"]
    assert ("fit" in done.stderr) == (room < wanted)


def test_this_process_may_open_as_many_files_as_it_can_be_let(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    core = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        keep_no_core()
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, core[1])
        assert room_for_connections(1, 0) == 1
        room = room_for_connections(hard, 10)
        assert room == hard - 10 - DESCRIPTORS_OF_OUR_OWN
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_CORE, core)
    assert "only" in caplog.text


def test_clients_cannot_take_the_descriptors_of_the_journal(tmp_path: Path) -> None:
    """The journal opens a segment for every few sagas here, while clients hold all connections there are."""
    config = tmp_path / "sagakeep.toml"
    config.write_text(
        f'bind = "127.0.0.1:0"\ndata = "{tmp_path / "data"}"\n[limits]\nsegmentBytes = 16384\n'
        '[services.shop]\npython = "fuzz.service:instant"\n'
    )
    limited = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 192));"
    limited += "os.execv(sys.executable, [sys.executable, '-m', 'sagakeep', *sys.argv[1:]])"
    command = [sys.executable, "-c", limited, "serve", "--config", str(config)]
    clients = ExitStack()
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRON, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        try:
            assert server.stdout
            assert server.stderr
            assert select.select([server.stdout], [], [], DEADLINE_S)[0]
            found = re.search(rb"127\.0\.0\.1:(\d+)", server.stdout.readline())
            assert found, server.stderr.read()
            port = int(found[1])
            patient = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
            clients.callback(patient.close)
            assert post(patient, 0) == 201
            for _ in range(300):
                clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            assert {post(patient, number) for number in range(1, 60)} == {201}
            segments = list((tmp_path / "data" / "wal").iterdir())
            assert len(segments) > 3
        finally:
            clients.close()
            server.send_signal(signal.SIGTERM)
        assert server.wait(DEADLINE_S) == 0


def post(connection: http.client.HTTPConnection, number: int) -> int:
    step = {"id": "a", "service": "shop", "action": "reserve", "payload": "x" * 1000}
    document = {"id": f"s-{number}", "name": "files", "steps": [step]}
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/api/sagas", json.dumps(document), headers)
    with connection.getresponse() as reply:
        reply.read()
        return reply.status
