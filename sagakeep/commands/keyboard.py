"""The keyboard: single keys of a terminal, as they are pressed and without an echo."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from typing import Final, Self

_BYTES_MAX: Final = 64


class Keyboard:
    """The terminal of the standard input, which is as it was when the block ends."""

    def __enter__(self) -> Self:
        self._number = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._number)
        tty.setcbreak(self._number)
        return self

    def __exit__(self, *_error: object) -> None:
        termios.tcsetattr(self._number, termios.TCSADRAIN, self._before)

    def wait(self, seconds: float) -> str:
        """The keys that are pressed within `seconds`, or "". Returns at the first."""
        if not select.select([self._number], [], [], seconds)[0]:
            return ""
        # Nobody is there any more when a terminal ends: that is a q.
        return os.read(self._number, _BYTES_MAX).decode(errors="replace") or "q"
