"""A server to be fuzzed: the real process, with services that answer at once and short deadlines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fuzz.service import SERVICES
from sagakeep.http.auth import Role, new_key

ROOT: Final = Path(__file__).parent.parent.parent
PLACES: Final = (str(ROOT / "tests"), str(ROOT))  # where Python finds this package and the product
UNDO_FAILED: Final = "is compensation_failed at step"  # told to operators as an error
ENVIRON: Final = {**os.environ, "PYTHONPATH": os.pathsep.join(PLACES)}
START_S_MAX: Final = 60.0
REST_S_MAX: Final = (
    45.0  # until all connections of clients that have gone are closed: two pings of a stream
)
END_S_MAX: Final = 20.0  # until the process has ended after SIGTERM; its grace is a tenth of it
SLOW_S_MAX: Final = (
    2.0  # the server's deadlines for a head, for a body and for a client that does not read
)
SLOW: Final = {"headersSMax": SLOW_S_MAX, "bodySMax": SLOW_S_MAX, "writeStallSMax": SLOW_S_MAX}
_ADDRESS: Final = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")


class Broken(Exception):
    """The server did what no request may make it do; the text says what."""


class Server:
    """`sagakeep serve` as a process; `key` is one of an operator, or "" when nobody needs one."""

    def __init__(self, directory: Path, key: str, process: subprocess.Popen[bytes], log: Path):
        self.directory = directory
        self.key = key
        self.process = process
        self._log = log
        self.rest_s_max = REST_S_MAX
        self.port = self._wait_port()
        self._sockets = self._count_sockets()

    def _wait_port(self) -> int:
        until_s = time.monotonic() + START_S_MAX
        while time.monotonic() < until_s and self.process.poll() is None:
            found = _ADDRESS.search((self.directory / "out").read_text())
            if found:
                return int(found[1])
            time.sleep(0.02)
        raise Broken(f"the server did not start: {self.log()}")

    def log(self) -> str:
        return self._log.read_text()

    def resident_bytes(self) -> int:
        """Return how much memory the process has."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def check_alive(self) -> None:
        """Raise Broken when the process has ended, or has logged an error; that an undo failed for good is one
        that requests may cause."""
        if self.process.poll() is not None:
            raise Broken(f"the process ended with {self.process.returncode}: {self.log()}")
        for line in self.log().splitlines():
            told = json.loads(line) if line.startswith("{") else {"level": "error"}
            is_error = told["level"] in ("error", "critical")
            if is_error and UNDO_FAILED not in told.get("message", ""):
                raise Broken(f"the log has a line that no request may cause: {line}")

    def check_rest(self) -> None:
        """Raise Broken when connections are still open a while after the last client has gone."""
        until_s = time.monotonic() + self.rest_s_max
        while self._count_sockets() > self._sockets:
            if time.monotonic() > until_s:
                raise Broken(f"{self._count_sockets()} sockets are open after the last client")
            time.sleep(0.05)

    def _count_sockets(self) -> int:
        folder = Path(f"/proc/{self.process.pid}/fd")
        count = 0
        for link in folder.iterdir():
            try:
                count += os.readlink(link).startswith("socket:")
            except FileNotFoundError:
                pass
        return count

    def end(self) -> None:
        """Stop the server; raise Broken when it does not end well and in time."""
        self.check_alive()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            raise Broken(f"the process had not ended {END_S_MAX:.0f} s after SIGTERM") from None
        if code != 0 or "Traceback" in self.log():
            raise Broken(f"the process ended with {code}: {self.log()}")


@contextmanager
def running_server(
    directory: Path, *, with_key: bool = False, limits: Mapping[str, float] = SLOW
) -> Iterator[Server]:
    """Run a server on a new directory, and end it however the block is left; `limits` by their names in TOML."""
    directory.mkdir(parents=True)
    key, sha256 = new_key(Role.OPERATOR) if with_key else ("", "")
    config = directory / "sagakeep.toml"
    config.write_text(_config(directory, sha256, limits))
    log = directory / "log"
    command = [sys.executable, "-m", "sagakeep", "serve", "--config", str(config)]
    with open(directory / "out", "wb") as out, log.open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=ENVIRON, stdout=out, stderr=errors)
    try:
        yield Server(directory, key, process, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _config(directory: Path, sha256: str, limits: Mapping[str, float]) -> str:
    lines = [
        'bind = "127.0.0.1:0"',
        f"data = {json.dumps(str(directory / 'data'))}",
        f"grace = {END_S_MAX / 10}",
        "[log]\nformat = 'json'",
        "[limits]",
        *[f"{name} = {bound}" for name, bound in limits.items()],
        *[f'[services.{name}]\npython = "fuzz.service:instant"' for name in SERVICES],
    ]
    if sha256:
        lines.append(f'[[auth.keys]]\nname = "fuzz"\nsha256 = "{sha256}"\nrole = "operator"')
    return "\n".join(lines)
