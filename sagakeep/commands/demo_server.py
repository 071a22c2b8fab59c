"""The server of the show: `serve --demo` as a child process that can be killed with -9 and comes back.

It has a session of its own, so that a Ctrl-C in the terminal ends the show and not the server in its midst.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from typing import Final, NamedTuple

from sagakeep.commands.client import Client
from sagakeep.errors import ServerUnreachable

START_S: Final = 60.0
STOP_S: Final = 30.0
LOG_NAME: Final = "server.log"
_LINE: Final = re.compile(rb"sagakeep listening on (http://\S+) \(.*, (\d+) sagas? recovered\)\s*")


class Start(NamedTuple):
    """A start of the server: the process, how many live sagas it recovered, how long it took."""

    pid: int
    recovered: int
    seconds: float


class DemoServer:
    """A server on `directory`, where it also leaves its log. It must be ended by `close`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Client

    def start(self) -> Start:
        """Start the server and wait until it listens, at a free port. Raises ServerUnreachable."""
        began_s = time.monotonic()
        data = os.path.join(self._directory, "data")
        words = ["serve", "--demo", "--data", data, "--bind", "127.0.0.1:0"]
        with open(self._log_path, "ab") as log:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "sagakeep", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environ(),
                start_new_session=True,
            )
        url, recovered = self._listening(process)
        self.client = Client(url)
        return Start(process.pid, recovered, time.monotonic() - began_s)

    def kill(self) -> int:
        """Kill the server with -9 and wait until it is dead; return what its process was."""
        process = self._running()
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._forget(process)
        return process.pid

    def close(self) -> None:
        """End the server, if it runs; may be repeated."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._forget(process)

    @property
    def _log_path(self) -> str:
        return os.path.join(self._directory, LOG_NAME)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was not started"
        return self._process

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is not None:
            process.stdout.close()
        self._process = None

    def _listening(self, process: subprocess.Popen[bytes]) -> tuple[str, int]:
        """Wait for the line with the address and the count."""
        stdout = process.stdout
        assert stdout is not None
        readable, _, _ = select.select([stdout], [], [], START_S)
        match = _LINE.fullmatch(stdout.readline()) if readable else None
        if match is None:
            self.close()
            raise ServerUnreachable(f"the server of the show did not start: {self._last_words()}")
        return match[1].decode(), int(match[2])

    def _last_words(self) -> str:
        with open(self._log_path, "rb") as log:
            return log.read()[-500:].decode(errors="replace").strip() or "it said nothing"


def _environ() -> dict[str, str]:
    """The environment without settings: the show is the same everywhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SAGAKEEP_")}
