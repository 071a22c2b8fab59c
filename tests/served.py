"""`sagakeep serve` as a process, for tests that are its clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import signal
import subprocess
import sys
import time

DEADLINE_S = 60.0
LINE = re.compile(
    r"sagakeep listening on http://127\.0\.0\.1:(\d+) \(data (.+), (\d+) sagas? recovered\)"
)


class Server:
    """`sagakeep serve` as a process."""

    def __init__(self, directory, *args, port=0, **environ):
        command = [sys.executable, "-m", "sagakeep", "serve", "--data", str(directory), *args]
        self.log = open(f"{directory}.log", "ab+")  # noqa: SIM115 - closed by `close`
        self.process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{port}"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **environ},
        )

    def ready(self):
        """Wait for the line; return how many sagas were recovered."""
        readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        assert readable, "the server did not say that it listens"
        match = LINE.fullmatch(self.process.stdout.readline().decode().strip())
        assert match, self.text()
        self.port = int(match[1])
        return int(match[3])

    def text(self):
        self.log.seek(0)
        return self.log.read().decode()

    def wait_log(self, text):
        until_s = time.monotonic() + DEADLINE_S
        while text not in self.text():
            assert time.monotonic() < until_s, self.text()
            select.select([], [], [], 0.01)

    def call(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
        connection.request(method, path, body and json.dumps(body), headers)
        with contextlib.closing(connection), connection.getresponse() as response:
            return response.status, json.loads(response.read() or b"null")

    def post(self, document, wait_s=0):
        prefer = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        return self.call("POST", "/api/sagas", document, **prefer)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()
