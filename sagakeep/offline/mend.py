"""Mends: the repairs that give nothing up.

A wrong bit is put back (`wrong_bit`), what stands behind the end of a segment that another one follows is
cleared, and a snapshot that is damaged or contradicts the journal is set aside.
"""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

from sagakeep.errors import JournalCorrupt, JournalError
from sagakeep.offline.loss import Losses
from sagakeep.offline.repair_plan import Plan, amendment_of, inner_path, overlay_of, tried
from sagakeep.offline.salvage import cluttered_end, read_chain
from sagakeep.offline.wrong_bit import WrongBit, find_wrong_bit
from sagakeep.runtime.amendment import Replacement
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_directory import Paths, read_file
from sagakeep.runtime.snapshot_file import DamagedSnapshot, read_snapshots

BITS_MAX: Final = 64  # put back in one repair; a disk with more is not one to go on with


def plan_mending(disk: Disk, paths: Paths) -> Plan:
    """Do all that costs nothing: put bits back, clear what is of no frame, set bad snapshots aside."""
    wrong: list[str] = []  # snapshots that contradict the journal
    mends: dict[str, Mend] = {}
    while True:
        replaced = [
            Replacement(inner_path(paths, path), functools.partial(_mended, disk, path, mend))
            for path, mend in mends.items()
        ]
        over = overlay_of(disk, paths, replaced, [])  # in which FORMAT may be whole again
        snapshots = read_snapshots(over, paths.root)
        aside = [one.path for one in snapshots if isinstance(one, DamagedSnapshot)] + wrong
        amendment = amendment_of(disk, paths, replaced, aside)
        told = _told_mending(mends, len(aside))
        plan = tried(disk, paths, told, amendment, Losses())._replace(is_mending=True)
        error = plan.error
        if error is None or sum(len(mend.bits) for mend in mends.values()) == BITS_MAX:
            return plan
        mend = mends.get(error.file, Mend())
        if error.file.endswith(".snap") and error.file not in wrong:
            wrong.append(error.file)
        elif (found := find_wrong_bit(over, paths, error)) is not None:
            mends[error.file] = mend._replace(bits=(*mend.bits, found))
        elif (end := _clutter(over, paths, error)) is not None and mend.length is None:
            mends[error.file] = mend._replace(length=end)
        else:
            return plan


class Mend(NamedTuple):
    """What is done to a file: bits are put back, and it is cut to a length behind which is no frame."""

    bits: tuple[WrongBit, ...] = ()
    length: int | None = None


def _clutter(disk: Disk, paths: Paths, error: JournalCorrupt) -> int | None:
    try:
        return cluttered_end(disk, read_chain(disk, paths), error.file)
    except JournalError:
        return None


def _mended(disk: Disk, path: str, mend: Mend) -> bytes:
    data = read_file(disk, path)
    for one in mend.bits:
        data = one.put_back(data)
    return data[: mend.length]


def _told_mending(mends: dict[str, Mend], snapshots: int) -> str:
    bits = [one for mend in mends.values() for one in mend.bits]
    told = [f"bit {one.bit} of byte {one.offset} of {one.path} is put back" for one in bits]
    ends = [(path, mend.length) for path, mend in mends.items() if mend.length is not None]
    told += [f"what stands behind byte {end} of {path} is cleared" for path, end in ends]
    return (
        ", ".join([*told, *(["snapshots are set aside"] if snapshots else [])])
        or "nothing is mended"
    )
