"""File descriptors: how many this process may have, and how many of them clients may take.

Each connection takes one, and so does each call to a service over HTTP. What clients may take is bounded, so that
calls, the journal and the rows have theirs however many clients there are.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Mapping
from typing import Final

from sagakeep.config import ServiceConfig

OWN: Final = 48  # journal, snapshots, rows, listeners, the loop
_log: Final = logging.getLogger(__name__)


def open_as_many_as_allowed() -> int:
    """Raise the process's own bound as far as the machine's allows; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        _log.info("the bound of %d open files stays: %s", soft, error)
        return soft
    return hard


def connections_within(descriptors: int, wanted: int, services: Mapping[str, ServiceConfig]) -> int:
    """How many of `wanted` connections fit beside our own files and the calls in flight; a quarter at least."""
    calls = sum(service.concurrency_max for service in services.values() if service.url)
    room = max(descriptors - OWN - calls, descriptors // 4, 1)
    if room >= wanted:
        return wanted
    _log.warning(
        "at most %d connections at a time, not %d: this process may open %d files (ulimit -n)",
        room,
        wanted,
        descriptors,
    )
    return room
