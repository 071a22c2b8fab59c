"""The processes of the whole thing: services that live on, and `sagakeep serve`, which does not."""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from blackbox import orders
from blackbox.life import Place

DEADLINE_S = 60.0  # nothing here takes so long unless it hangs
READY = re.compile(rb"sagakeep listening on http://127\.0\.0\.1:(\d+) .*, (\d+) sagas? recovered\)")
TESTS = Path(__file__).parent.parent

Reply = tuple[int, Mapping[str, str], object]  # status, headers in lower case, JSON


class Broken(Exception):
    """The black box itself cannot go on: a process did not start, or hangs."""


class ServiceProcess:
    """`blackbox.http_service` on a ledger."""

    def __init__(self, ledger: Path) -> None:
        self.ledger = ledger
        command = [sys.executable, "-m", "blackbox.http_service", str(ledger)]
        environ = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environ)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().decode().strip()
        if not self.url:
            raise Broken(f"no service on {ledger}")

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()


class ServerProcess:
    """`sagakeep serve`; `wrapper` comes before it on the command line, `environ` is added to ours."""

    def __init__(
        self,
        place: Place,
        config: Path,
        *,
        wrapper: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        command = [*wrapper, sys.executable, "-m", "sagakeep", "serve", "--config", str(config)]
        self._log = open(place.log, "ab")  # noqa: SIM115 - closed by `close`
        self.port = 0
        self.recovered = 0
        self.process = subprocess.Popen(
            [*command, "--data", str(place.data), "--bind", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **(environ or {})},
            preexec_fn=prepare,
        )

    def wait_ready(self, seconds: float = DEADLINE_S) -> bool:
        """Wait until it has recovered; false when the time is up. Raises Broken when it ended instead."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return False
        match = READY.match(self.process.stdout.readline())
        if match is None:
            raise Broken(f"the server ended with {self.process.wait(DEADLINE_S)}: {self._log.name}")
        self.port, self.recovered = int(match[1]), int(match[2])
        return True

    def call(self, method: str, path: str, body: object = None, key: str = "") -> Reply:
        """Ask once. Raises OSError or HTTPException when the connection breaks."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key:
            headers["Idempotency-Key"] = key
        data = None if body is None else json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request(method, path, data, headers)
            reply = connection.getresponse()
            fields = {name.lower(): value for name, value in reply.getheaders()}
            return reply.status, fields, json.loads(reply.read() or b"null")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; return how it ended."""
        self.process.send_signal(number)
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise Broken(f"the server does not end: {self._log.name}") from None

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


class System:
    """A place, its services, and one server after another on the same directory."""

    def __init__(self, place: Place, limits: str = "", service: str = "") -> None:
        self.place = place
        self.services = {name: ServiceProcess(place.ledger(name)) for name in orders.SERVICES}
        self.config = place.root / "sagakeep.toml"
        tables = [
            f'[services.{name}]\nurl = "{one.url}"\n{service}\n'
            for name, one in self.services.items()
        ]
        self.config.write_text(f"[limits]\nrecoveredCallsPerS = 5000\n{limits}\n" + "".join(tables))
        self.server: ServerProcess | None = None

    def start(
        self,
        *,
        wrapper: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> ServerProcess:
        """Start the next server; the one before must have ended."""
        if self.server is not None:
            self.server.close()
        self.server = ServerProcess(
            self.place, self.config, wrapper=wrapper, environ=environ, prepare=prepare
        )
        return self.server

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
        for service in self.services.values():
            service.close()


@contextlib.contextmanager
def running(place: Place, limits: str = "", service: str = "") -> Iterator[System]:
    """A system whose processes end with the block."""
    system = System(place, limits, service)
    try:
        yield system
    finally:
        system.close()


def wait_until(holds: Callable[[], bool], seconds: float = DEADLINE_S) -> bool:
    """Wait until it holds; false when the time is up."""
    until_s = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until_s:
            return False
        select.select([], [], [], 0.01)
    return True


def pause(seconds: float) -> None:
    """Let time pass: it is what a campaign is about."""
    select.select([], [], [], seconds)


def verify(data: Path) -> list[str]:
    """What `sagakeep verify` has to complain about."""
    command = [sys.executable, "-m", "sagakeep", "verify", str(data)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    is_good = verified.returncode == 0 and "all good" in verified.stdout
    return [] if is_good else [f"verify: {verified.stdout}{verified.stderr}"]
