"""A process that has no file descriptor left, as one that too many clients have connected to."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Within the block no file can be opened, but for as many as are closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        highest = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (fd := _open_or_none()) is not None:
            stack.callback(os.close, fd)
        yield


def _open_or_none() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        return None
