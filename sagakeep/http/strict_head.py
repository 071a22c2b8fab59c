"""Strict head: refuse a request whose head two parsers could read in two ways, by its very bytes.

h11 is lenient where the standard lets it be: it takes lines that end without CR, lines that go on in
the next one, and the same length twice, and what it gives out does not tell. A proxy in front may be
lenient in another way, and then the two disagree where one request ends and the next begins. So each
head is looked at before h11 reads it.

And what a client sends behind its last request (`Connection: close`) is dropped: h11 calls it an error,
at once, and that would take the place of the reply.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import h11

from sagakeep import limits
from sagakeep.http.refusals import Refusal

_END: Final = b"\r\n\r\n"
_FOLDED: Final = re.compile(rb"\r\n[ \t]")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:([^\r]*)", re.IGNORECASE)


class StrictConnection(h11.Connection):
    """The server's side of a connection; `refusal` says why the last head was refused."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=limits.HEADERS_BYTES_MAX)
        self.refusal: Refusal | None = None

    def receive_data(self, data: bytes) -> None:
        """Take what the client sent, unless it has made its last request."""
        if self.their_state is not h11.MUST_CLOSE:
            super().receive_data(data)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return what comes next. Raises RemoteProtocolError, for a head of two meanings, too."""
        if self.their_state is h11.IDLE:
            self.refusal = refusal_of_bytes(self.trailing_data[0])
            if self.refusal is not None:
                raise h11.RemoteProtocolError(self.refusal.detail, int(self.refusal.status))
        if self.their_state is h11.MUST_CLOSE:
            return h11.NEED_DATA
        return super().next_event()


def refusal_of_bytes(data: bytes) -> Refusal | None:
    """Judge the head that `data` begins with, as far as it is there."""
    end = data.find(_END)
    head = data if end < 0 else data[: end + len(_END)]
    if head.count(b"\n") != head.count(b"\r\n"):
        return Refusal(HTTPStatus.BAD_REQUEST, "a line of a head ends with CR LF")
    if end < 0:
        return None
    if len(head) > limits.HEADERS_BYTES_MAX:
        detail = f"a head has at most {limits.HEADERS_BYTES_MAX} bytes"
        return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
    if _FOLDED.search(head):
        return Refusal(HTTPStatus.BAD_REQUEST, "a header is in one line")
    lengths = _LENGTH.findall(head)
    if len(lengths) > 1 or any(b"," in length for length in lengths):
        return Refusal(HTTPStatus.BAD_REQUEST, "a body has one Content-Length")
    return None
