"""The client of a server: one request at a time, over TCP, TLS or a Unix socket.

By the standard library's `http.client`, which asks nothing of the environment: no proxies, no redirects. Every
answer that is an error becomes one of `sagakeep.errors`, which says what to do.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from sagakeep.errors import (
    AccessRefused,
    MoveNotAllowed,
    NoSuchThing,
    RequestRefused,
    ServerBusy,
    ServerUnreachable,
)

CONNECT_S: Final = 5.0
REPLY_S: Final = 90.0  # a server waits for a saga for 60 s at most
RECONNECTS_MAX: Final = 30  # of a stream, a second apart
JSON_TYPE: Final = "application/json"

_REFUSALS: Final[dict[int, type[RequestRefused]]] = {
    401: AccessRefused,
    403: AccessRefused,
    404: NoSuchThing,
    409: MoveNotAllowed,
    412: MoveNotAllowed,
    503: ServerBusy,
}


class Answer(NamedTuple):
    """What the server said: the status code, the headers in lower case, the body as JSON or as text."""

    status: int
    headers: Mapping[str, str]
    body: Any  # JSON of the API, whose shapes are in sagakeep.published


class _UnixConnection(HTTPConnection):
    """A connection by a socket in the file system."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Asks the server at `url` (`http://HOST:PORT`, `https://...`, `unix:PATH`), with `token` if it is not "".

    Every method raises ServerUnreachable, or a RequestRefused for an answer of 400 and more.
    """

    def __init__(
        self, url: str, token: str = "", *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._sleep = sleep
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "unix") or not (parts.hostname or parts.path):
            raise ServerUnreachable(
                f"{url!r} is no address; expected http://HOST:PORT or unix:PATH"
            )
        self._parts = parts

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        may_fail: bool = False,
    ) -> Answer:
        """Send one request. `body` is JSON, or bytes sent as they are; `may_fail` gives any answer back."""
        if query:
            path += "?" + urlencode(query, doseq=True)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        kind = {} if data is None else {"Content-Type": JSON_TYPE}
        with self._open(method, path, data, {**kind, **(headers or {})}) as response:
            answer = _read(response)
        if answer.status >= 400 and not may_fail:
            raise _refusal(answer)
        return answer

    def get(self, path: str, **query: str) -> Any:
        """The body of a GET."""
        return self.ask("GET", path, query=query).body

    def pages(self, path: str, name: str, query: Mapping[str, str | list[str]]) -> Iterator[Any]:
        """All entries called `name`, page by page."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.ask("GET", path, query={**query, **({"cursor": cursor} if cursor else {})})
            yield from page.body[name]
            cursor = page.body["nextCursor"]

    def lines(self, method: str, path: str, body: object) -> Iterator[Any]:
        """What a reply has in each of its lines, as they come."""
        data, headers = json.dumps(body).encode(), {"Content-Type": JSON_TYPE}
        with self._open(method, path, data, headers) as response:
            if response.status >= 400:
                raise _refusal(_read(response))
            yield from map(json.loads, response)

    def stream(self, path: str, after: int = 0) -> Iterator[Any]:
        """The events of a saga as they become durable, until it is final; goes on after a lost connection."""
        lost = 0
        while lost <= RECONNECTS_MAX:
            lost += 1
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
            try:
                with self._open("GET", path, None, headers) as response:
                    if response.status == 204:
                        return
                    if response.status >= 400:
                        raise _refusal(_read(response))
                    for event in _events(response):
                        after, lost = event["seq"], 0
                        yield event
            except (ServerUnreachable, ServerBusy):
                if lost > RECONNECTS_MAX:
                    raise
            if lost:
                self._sleep(1.0)
        raise ServerUnreachable(f"{self.url}: it ends every stream without an event")

    def _open(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> _Reply:
        connection = self._connection()
        try:
            connection.connect()
            connection.sock.settimeout(REPLY_S)
            base = "" if self._parts.scheme == "unix" else self._parts.path.rstrip("/")
            connection.request(method, base + path, data, {**self._headers, **headers})
            return _Reply(self.url, connection, connection.getresponse())
        except (OSError, HTTPException) as error:
            connection.close()
            raise _unreachable(self.url, error) from error

    def _connection(self) -> HTTPConnection:
        parts = self._parts
        if parts.scheme == "unix":
            return _UnixConnection(parts.path, CONNECT_S)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return HTTPSConnection(parts.netloc, timeout=CONNECT_S, context=context)
        return HTTPConnection(parts.netloc, timeout=CONNECT_S)


class _Reply:
    """A response and its connection, which ends with it."""

    def __init__(self, url: str, connection: HTTPConnection, response: HTTPResponse) -> None:
        self._url = url
        self._connection = connection
        self._response = response

    def __enter__(self) -> HTTPResponse:
        return self._response

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._response.close()
        self._connection.close()
        if isinstance(error, OSError | HTTPException) and not isinstance(error, BrokenPipeError):
            raise _unreachable(self._url, error) from error


def saga_path(saga_id: str, rest: str = "") -> str:
    """The path of a saga, or of something below it."""
    return f"/api/sagas/{quote(saga_id, safe='')}{rest}"


def _read(response: HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    data = response.read()
    kind = headers.get("content-type", "").partition(";")[0]
    is_json = kind == JSON_TYPE or kind.endswith("+json")
    body = json.loads(data or b"null") if is_json else data.decode(errors="replace")
    return Answer(response.status, headers, body)


def _events(response: HTTPResponse) -> Iterator[Any]:
    """Parse server-sent events, of which each has its data in one line."""
    for line in response:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def _refusal(answer: Answer) -> RequestRefused:
    kind = _REFUSALS.get(answer.status, RequestRefused)
    return kind(answer.status, _words(answer), answer.body, answer.headers.get("retry-after", ""))


def _words(answer: Answer) -> str:
    problem = answer.body
    if not isinstance(problem, dict):
        return f"status {answer.status}: {str(problem)[:200]}"
    return "\n".join(words_of(problem, ": "))


def words_of(problem: dict[str, Any], between: str) -> list[str]:
    """What a problem document says: each of its faults, or what is wrong as a whole."""
    faults = [
        f"{one['pointer'] or '/'}{between}{one['detail']}" for one in problem.get("errors", ())
    ]
    return faults or [str(problem.get("detail") or problem.get("title"))]


def _unreachable(url: str, error: Exception) -> ServerUnreachable:
    why = str(error) or type(error).__name__
    return ServerUnreachable(f"{url}: {why}")
