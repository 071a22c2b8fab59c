"""What was set aside in `quarantine`, until it names what must be in no file any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sagakeep.errors import JournalCorrupt
from sagakeep.runtime.archive import SUFFIX
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import Paths, read_file
from sagakeep.runtime.segment_source import read_segment_file

_KEPT = "report.json"  # says which sagas lost what, and nothing that they said


def drop_from_quarantine(disk: Disk, directory: str, words: Sequence[str]) -> Iterator[str]:
    """Remove the files that have one of these words in them; yield the path of each."""
    paths = Paths(directory.rstrip("/") or "/")
    found = [word.encode() for word in words]
    for directory in (paths.quarantine, *_of_repairs(disk, paths)):
        for name in disk.list(directory):
            path = f"{directory}/{name}"
            if "." in name and name != _KEPT and _has_any(disk, path, found):
                disk.unlink(path)
                disk.sync_directory(directory)
                yield path


def _of_repairs(disk: Disk, paths: Paths) -> Iterator[str]:
    """Yield their directories, which are numbered from 1 on and are never empty."""
    number = 1
    while disk.list(directory := f"{paths.quarantine}/repair-{number:04}"):
        yield directory
        number += 1


def _has_any(disk: Disk, path: str, words: list[bytes]) -> bool:
    try:
        data = (
            read_segment_file(disk, path).data if path.endswith(SUFFIX) else read_file(disk, path)
        )
    except JournalCorrupt:
        return True  # nobody can say what is in it
    return any(word in data for word in words)
