"""Attacks: requests that once ended servers, or on which two parsers disagree, with the answer each must get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import h2.config
import h2.connection

from sagakeep import limits
from sagakeep.http.refusals import HEADERS_MAX, TARGET_BYTES_MAX


def http2(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Speak HTTP/2 with prior knowledge, with headers that a sane client cannot send."""
    settings = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None
    )
    connection = h2.connection.H2Connection(settings)
    connection.initiate_connection()
    connection.send_headers(1, headers, end_stream=True)
    return bytes(connection.data_to_send())


_SANE: Final = [(b":scheme", b"http"), (b":authority", b"a")]
_H2C: Final = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
)
_WEBSOCKET: Final = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n"
_POST: Final = b"POST / HTTP/1.1\r\nHost: a\r\n"

ATTACKS: Final[Mapping[str, tuple[int, bytes]]] = {
    "h2 path": (505, http2([(b":method", b"GET"), (b":path", b"/\xff"), *_SANE])),
    "h2 method": (505, http2([(b":method", b"G\xffT"), (b":path", b"/"), *_SANE])),
    "h2 connect": (505, http2([(b":method", b"CONNECT"), (b":authority", b"a:1")])),
    "h2 sane": (505, http2([(b":method", b"GET"), (b":path", b"/"), *_SANE])),
    "h2c bad settings": (501, _H2C + b"HTTP2-Settings: !\r\n\r\n"),
    "h2c sane": (501, _H2C + b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"),
    "websocket": (501, _WEBSOCKET),
    "connect": (501, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute": (400, b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "asterisk": (400, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "version": (505, b"GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
    "two framings": (
        400,
        _POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "two lengths": (
        400,
        _POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
    ),
    "the same length twice": (
        400,
        _POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    ),
    "a list of lengths": (400, _POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    "signed length": (400, _POST + b"Content-Length: +3\r\n\r\nabc"),
    "chunked in 1.0": (
        400,
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "folded coding": (
        400,
        _POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    "folded header": (400, _GET + b"X: b\r\n\tc\r\n\r\n"),
    "coding with a space": (
        400,
        _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    "lines without CR": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "one line without CR": (400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
    "end without CR": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    "CR in a value": (400, _GET + b"X: y\rz\r\n\r\n"),
    "NUL in a value": (400, _GET + b"X: y\0z\r\n\r\n"),
    "method in lower case": (400, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "coding": (501, _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "two hosts": (400, _GET + b"Host: b\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "path": (400, b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
    "tls": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "noise": (400, b"\x00" * 50 + b"\r\n\r\n"),
    "long head": (431, _GET + b"X: " + b"x" * limits.HEADERS_BYTES_MAX),
    "long whole head": (
        431,
        _GET + b"X: " + b"x" * limits.HEADERS_BYTES_MAX + b"\r\n\r\n",
    ),
    "many headers": (
        431,
        _GET + b"X: y\r\n" * HEADERS_MAX + b"\r\n",
    ),
    "long target": (414, b"GET /" + b"x" * TARGET_BYTES_MAX + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
}
