"""A cursor: one position of the journal that outlives the process, in a file of its own.

Written beside, made durable, then given its name, so that a kill leaves the old one or the new one. A cursor that
makes no sense counts as none, and is told in the log.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Final

from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import replace_file

_POSITION: Final = re.compile(rb'\{"frame": ([0-9]{1,18}), "journal": "([0-9a-f]{32})"\}\n')

_log = logging.getLogger(__name__)


class CursorFile:
    """The cursor at `path`, for the journal with this uuid. All calls block and raise OSError."""

    def __init__(self, disk: Disk, directory: str, name: str, journal_uuid: str) -> None:
        self._disk = disk
        self._directory = directory
        self.path = f"{directory}/{name}.cursor"
        self._uuid = journal_uuid

    def load(self) -> int | None:
        """The position, None when there is none to be trusted."""
        if not self._disk.exists(self.path):
            return None
        file = self._disk.open(self.path)
        try:
            data = file.pread(file.size(), 0)
        finally:
            file.close()
        match = _POSITION.fullmatch(data)
        if match is None or match[2].decode() != self._uuid:
            _log.error(
                "%s is damaged, or of another journal: what happened before this start is not told by it;"
                " look there what the receiver has missed",
                self.path,
            )
            return None
        return int(match[1])

    def save(self, frame: int) -> None:
        """Durable when it returns."""
        data = json.dumps({"frame": frame, "journal": self._uuid}).encode() + b"\n"
        self._disk.make_directory(self._directory)
        replace_file(self._disk, self.path, data)
