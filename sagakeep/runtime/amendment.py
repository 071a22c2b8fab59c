"""Amendments: files of a data directory replaced and removed in one step, whatever instant the process dies at.

Theory of operation. A repair touches several files, and a directory with some of them changed would be a third
thing, neither damaged as before nor repaired. So all is prepared beside, and one rename decides:

    quarantine/repair-0001/NAME         the original bytes of each file that will be changed or removed
    quarantine/repair-0001/NAME.new     what the file will have
    quarantine/repair-0001/report.json  for people
    REPAIR                              names them; **renamed into place: decided**
    the files                           replaced and removed, each step repeatable
    REPAIR                              removed: done

Before the rename nothing that anybody reads has changed. After it whoever opens the directory next finishes
what is left (`finish_amendment`), before reading anything else; who only reads (`read_layout`) says so instead.
Only then are the prepared files removed; the originals stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from sagakeep.errors import JournalCorrupt
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import Paths, read_file, read_note, replace_file, seal

NOTE_BYTES_MAX: Final = 64 << 20  # a line for each segment
ASIDE_MAX: Final = 9_999

_NOTE: Final = re.compile(
    r"sagakeep-repair 1\naside (repair-\d{4})\n((?:(?:replace|remove) [\w./-]+\n)*)"
)


class Replacement(NamedTuple):
    """A file's path in the data directory, and what makes its new content; always the same bytes."""

    path: str
    make: Callable[[], bytes]


class Amendment(NamedTuple):
    """What to replace and to remove; `derived` is removed without a copy, for it can be made again."""

    replaced: tuple[Replacement, ...] = ()
    removed: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()


def amend(disk: Disk, paths: Paths, amendment: Amendment, report: bytes) -> str:
    """Amend a locked directory; return where the original bytes are. Durable when it returns."""
    aside = _free_name(disk, paths)
    _prepare(disk, paths, amendment, f"{paths.quarantine}/{aside}", report)
    lines = [f"sagakeep-repair 1\naside {aside}\n"]
    lines += [f"replace {one.path}\n" for one in amendment.replaced]
    lines += [f"remove {path}\n" for path in (*amendment.removed, *amendment.derived)]
    replace_file(disk, paths.repair, seal("".join(lines)))
    finish_amendment(disk, paths)
    return f"{paths.quarantine}/{aside}"


def finish_amendment(disk: Disk, paths: Paths) -> str:
    """Finish what was decided on and interrupted; return where its original bytes are, or "" if there is nothing.

    Raises `JournalCorrupt` when the note of it is damaged.
    """
    text = read_note(disk, paths.repair, NOTE_BYTES_MAX)
    if text is None:
        return ""
    match = _NOTE.fullmatch(text)
    if match is None:
        raise JournalCorrupt(paths.repair, 0, "is not the note of a repair")
    aside = f"{paths.quarantine}/{match[1]}"
    steps = [line.split(" ") for line in match[2].splitlines()]
    for verb, path in steps:
        target = f"{paths.root}/{path}"
        if verb == "replace":
            replace_file(disk, target, read_file(disk, f"{aside}/{_name(path)}.new"))
        elif disk.exists(target):
            disk.unlink(target)
    for directory in sorted({f"{paths.root}/{path}".rpartition("/")[0] for _, path in steps}):
        disk.sync_directory(directory)
    disk.unlink(paths.repair)
    disk.sync_directory(paths.root)
    for verb, path in steps:
        if verb == "replace":
            disk.unlink(f"{aside}/{_name(path)}.new")
    return aside


def _free_name(disk: Disk, paths: Paths) -> str:
    names = (f"repair-{number:04}" for number in range(1, ASIDE_MAX + 1))
    return next(name for name in names if not disk.list(f"{paths.quarantine}/{name}"))


def _prepare(disk: Disk, paths: Paths, amendment: Amendment, aside: str, report: bytes) -> None:
    """Keep the originals and the new content beside, durably; nobody reads either yet."""
    disk.make_directory(paths.quarantine)
    disk.make_directory(aside)
    _write(disk, f"{aside}/report.json", report)
    for path in (*(one.path for one in amendment.replaced), *amendment.removed):
        if disk.exists(f"{paths.root}/{path}"):
            _write(disk, f"{aside}/{_name(path)}", read_file(disk, f"{paths.root}/{path}"))
    for one in amendment.replaced:
        _write(disk, f"{aside}/{_name(one.path)}.new", one.make())
    for directory in (aside, paths.quarantine, paths.root):
        disk.sync_directory(directory)


def _write(disk: Disk, path: str, data: bytes) -> None:
    file = disk.open(path, create=True)
    try:
        file.pwrite(data, 0)
        file.fsync()
    finally:
        file.close()


def _name(path: str) -> str:
    return path.rpartition("/")[2]
