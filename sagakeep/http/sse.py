"""SSE: a live reply of server-sent events."""

from __future__ import annotations

from typing import Final

from sagakeep.http.live_reply import LiveReply, Source

RECONNECT_MS: Final = 2_000
MEDIA_TYPE: Final = "text/event-stream"


class SseReply(LiveReply[Source]):
    """A subclass pumps whole events."""

    media_type = MEDIA_TYPE
    hello = f"retry: {RECONNECT_MS}\n\n".encode()
    ping = b": ping\n\n"
