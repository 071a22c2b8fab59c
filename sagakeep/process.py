"""Process: what the system gives us, and how much of it clients may take.

A connection is a file descriptor, and so is a file. Without a bound clients could take them all, and then the
journal could not open its next segment, which ends the process. So connections leave enough for the rest.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

DESCRIPTORS_OF_OUR_OWN: Final = (
    64  # journal, snapshots, rows, listeners, the event loop: about half of it
)
CONNECTIONS_MIN: Final = 8  # below it there is no point in serving
_log: Final = logging.getLogger(__name__)


def room_for_connections(wanted: int, calls: int) -> int:
    """Return how many connections there may be, at most `wanted`, beside so many calls to services.

    Raises the soft limit of open files as far as the hard one allows and this needs.
    """
    needed = wanted + calls + DESCRIPTORS_OF_OUR_OWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    soft = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = max(CONNECTIONS_MIN, min(wanted, soft - calls - DESCRIPTORS_OF_OUR_OWN))
    if room < wanted:
        _log.warning("of %d connections only %d fit: %d files may be open", wanted, room, soft)
    return room


def keep_no_core() -> None:
    """Leave no image of our memory behind, which has payloads in it, when the process dies."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
