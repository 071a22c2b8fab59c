"""Which requests are refused before any application sees them, by their head alone.

They are those that would make the server speak something other than HTTP/1.1: the preface and the
upgrade to HTTP/2, tunnels, proxy requests, websockets; and a body framed in two ways. What only the
bytes of a head tell is judged in `strict_head`.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, NamedTuple

HEADERS_MAX: Final = 100
TARGET_BYTES_MAX: Final = 8 << 10


class Refusal(NamedTuple):
    """Why a request is answered with this status, and its connection closed."""

    status: HTTPStatus
    detail: str


def refusal_of(
    method: bytes, target: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> Refusal | None:
    """Judge one head; names of headers are lower case."""
    names = [name for name, _ in headers]
    if version not in (b"1.0", b"1.1"):
        return Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "speak HTTP/1.1")
    if method == b"CONNECT":
        return Refusal(HTTPStatus.NOT_IMPLEMENTED, "there are no tunnels here")
    if method != method.upper():
        return Refusal(HTTPStatus.BAD_REQUEST, "a method is in upper case")
    if not target.startswith(b"/"):
        return Refusal(HTTPStatus.BAD_REQUEST, "the request target must be a path")
    if len(target) > TARGET_BYTES_MAX:
        return Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, f"a target has {TARGET_BYTES_MAX} bytes")
    if b"upgrade" in names:
        return Refusal(HTTPStatus.NOT_IMPLEMENTED, "there is no protocol to upgrade to")
    if b"transfer-encoding" in names and (b"content-length" in names or version == b"1.0"):
        detail = "Transfer-Encoding is of HTTP/1.1, and excludes Content-Length"
        return Refusal(HTTPStatus.BAD_REQUEST, detail)
    if len(names) > HEADERS_MAX:
        detail = f"a head has at most {HEADERS_MAX} headers"
        return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
    return None
