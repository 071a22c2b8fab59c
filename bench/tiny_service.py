"""A service over HTTP, as quick as one in Python can be, in a process of its own: the other end of `calls`.

python -m bench.tiny_service        prints `listening on http://127.0.0.1:PORT`

    POST /refuse      422
    POST /anything    200 and an empty object
"""

from __future__ import annotations

import trio

from sagakeep.runtime.collector import turn_collector_off

HEAD_BYTES_MAX = 16 << 10
DONE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 422 X\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def serve_client(stream: trio.SocketStream) -> None:
    """Answer one request after the other until the client closes."""
    unread = b""
    async with stream:
        while True:
            while (end := unread.find(b"\r\n\r\n")) < 0:
                if len(unread) > HEAD_BYTES_MAX or not (data := await stream.receive_some()):
                    return
                unread += data
            head = unread[:end].lower()
            after = end + 4 + int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r")[0])
            while len(unread) < after:
                if not (data := await stream.receive_some()):
                    return
                unread += data
            unread = unread[after:]
            await stream.send_all(REFUSED if head.startswith(b"post /refuse ") else DONE)


async def run() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    turn_collector_off()
    print(f"listening on http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", flush=True)
    await trio.serve_listeners(serve_client, listeners)


if __name__ == "__main__":
    try:
        trio.run(run)
    except* trio.BrokenResourceError:
        pass
