"""A receiver of webhooks: a real HTTP server in a thread, which verifies as docs/webhooks.md says."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from pages import ROOT

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def verify_of_the_page() -> Callable[[str, dict[str, str], bytes], None]:
    """The verification that the documentation shows."""
    page = (ROOT / "docs" / "webhooks.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code
    names: dict[str, Callable[[str, dict[str, str], bytes], None]] = {}
    exec(code[1], names)
    return names["verify"]


class Received(NamedTuple):
    """One attempt."""

    id: str
    event: dict[str, object]


class Receiver:
    """Answers with `status`, and keeps what it has taken."""

    def __init__(self, status: int = 204) -> None:
        self.status = status
        self.attempts: list[Received] = []
        self.taken: list[Received] = []
        self.bad: list[str] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self
        verify = verify_of_the_page()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    verify(SECRET, headers, body)
                except ValueError as error:
                    receiver.bad.append(str(error))
                status = receiver.note(Received(headers["webhook-id"], json.loads(body)))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if status == 307:
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def note(self, received: Received) -> int:
        with self._changed:
            self.attempts.append(received)
            if 200 <= self.status < 300:
                self.taken.append(received)
            self._changed.notify_all()
            return self.status

    def wait(self, until: Callable[[], bool], timeout_s: float = 60) -> None:
        with self._changed:
            assert self._changed.wait_for(until, timeout_s), (self.attempts, self.taken)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def write_config(directory: Path, url: str, more: str = "") -> Path:
    path = directory / "sagakeep.toml"
    path.write_text(f'[webhooks.shop]\nurl = "{url}"\nsecrets = ["{SECRET}"]\n{more}')
    return path
