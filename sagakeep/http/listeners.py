"""Listen where a Bind says, and accept for as long as it takes."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from sagakeep.bind import Bind
from sagakeep.errors import ConfigurationError

BACKLOG: Final = 2_048
_NO_ROOM_S: Final = 0.1  # between two accepts while there is no room for another connection
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log: Final = logging.getLogger(__name__)

Accepted = Callable[[trio.SocketStream], Awaitable[None]]


async def open_listeners(bind: Bind) -> list[trio.SocketListener]:
    """Listen; raises ConfigurationError when the address cannot be used."""
    try:
        if bind.path:
            return [_listen_at(bind.path)]
        return await trio.open_tcp_listeners(bind.port, host=bind.host, backlog=BACKLOG)
    except OSError as error:
        where = bind.path or f"{bind.host}:{bind.port}"
        raise ConfigurationError(f"bind: cannot listen at {where}: {error}") from error


def addresses_of(listeners: list[trio.SocketListener]) -> list[str]:
    """Name the addresses as a client would."""
    return [_address(listener.socket.getsockname()) for listener in listeners]


def _address(name: object) -> str:
    if isinstance(name, tuple):
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"http://{host}:{name[1]}"
    return f"unix:{name}"


def _listen_at(path: str) -> trio.SocketListener:
    """Listen at a Unix socket that only this user may use; one left behind is replaced."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        _remove_stale(path)
        umask = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(umask)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


def _remove_stale(path: str) -> None:
    with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket", path)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise OSError(errno.EADDRINUSE, "another process listens there", path)


def close_listeners(listeners: list[trio.SocketListener]) -> None:
    """Stop listening, at once; a Unix socket leaves no file behind."""
    for listener in listeners:
        name = listener.socket.getsockname()
        if isinstance(name, str) and name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        listener.socket.close()


async def accept_from(listener: trio.SocketListener, accepted: Accepted) -> None:
    """Hand on each connection, for ever; without room for one more, wait until there is."""
    has_room = True
    while True:
        try:
            stream = await listener.accept()
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            if has_room:
                _log.error("cannot accept connections: %s", error)
            has_room = False
            await trio.sleep(_NO_ROOM_S)
        else:
            has_room = True
            await accepted(stream)
