"""Spare descriptors: what lets the journal open its next file when connections have taken all others.

A process has so many file descriptors, and clients can make it use up all of them. A journal that then cannot
begin its next segment would have to end the process. So whoever writes a journal keeps a few descriptors open on
nothing. When there is no other left, one is closed for the file that is to be opened; and a file that is closed
while some are missing becomes a spare itself, in one step, so that no connection can get in between.
"""

from __future__ import annotations

import errno
import os
from typing import Final

COUNT: Final = 8  # a roll holds one file more than before for a moment, and a snapshot another
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE})


class SpareDescriptors:
    """Opens and closes files. May be used from several threads: list operations are atomic."""

    def __init__(self) -> None:
        self._nothing = -1
        self._spares: list[int] = []

    def fill(self) -> None:
        """Have spares from now on, as far as there are any descriptors left."""
        try:
            if self._nothing < 0:
                self._nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            while len(self._spares) < COUNT:
                self._spares.append(os.dup(self._nothing))
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise

    def drop(self) -> None:
        """Have none any more; may be repeated."""
        nothing, self._nothing = self._nothing, -1
        if nothing >= 0:
            os.close(nothing)
        while self._spares:
            os.close(self._spares.pop())

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        """Open a file, at the cost of a spare when there is no other way."""
        while True:
            try:
                return os.open(path, flags | os.O_CLOEXEC, mode)
            except OSError as error:
                if error.errno not in EXHAUSTED or not self._spares:
                    raise
            os.close(self._spares.pop())

    def close(self, fd: int) -> None:
        """Close a file; its descriptor becomes a spare where one is missing."""
        if self._nothing < 0 or len(self._spares) >= COUNT:
            os.close(fd)
            return
        os.dup2(self._nothing, fd, inheritable=False)
        self._spares.append(fd)
