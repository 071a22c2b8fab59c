"""Services that repeat what they were given, as real ones do in their errors: one over HTTP, one in Python."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sagakeep.service import Call, ServiceRefused, ServiceUnavailable


class Leaky:
    """Every action says the whole payload in its own way."""

    async def take(self, call: Call) -> object:
        return call.payload

    async def refuse(self, call: Call) -> object:
        raise ServiceRefused(f"no: {call.payload}")

    async def later(self, call: Call) -> object:
        raise ServiceUnavailable(f"not now: {call.payload}", retry_after_s=3600)

    async def crash(self, call: Call) -> object:
        try:
            raise KeyError(json.dumps(call.payload))
        except KeyError as error:
            raise ValueError(f"bad card {call.payload} {call.result}") from error


leaky = Leaky()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        token = self.headers["Authorization"]
        match self.path.rpartition("/")[2]:
            case "take":
                self._say(200, body)
            case "refuse":
                self._say(422, json.dumps({"detail": f"{token}: no {body.decode()}"}).encode())
            case "stutter":
                self._say(422, b"x" * 190 + body + token.encode())
            case "crash":
                self._say(500, b"Traceback: " + body + token.encode())
            case "redirect":
                self._say(302, body + token.encode())
            case _:
                self._say(200, b"no JSON: " + body + token.encode())

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status, self.headers["Authorization"])
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "/" + self.headers["Authorization"].split()[-1])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def leaky_url() -> Iterator[str]:
    """Serve at a free port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
