"""Repairs: give up, knowingly, what cannot be had back, so that the rest of a damaged journal can be used again.

    plan_truncation     the journal ends at a position; what stands behind it is lost
    plan_quarantine     the records of some sagas are taken out, in place: no position changes
    plan_mending        a wrong bit is put back, a snapshot that is damaged or wrong set aside; nothing is lost

A plan changes nothing. It says what is lost, and it has been tried: what the directory would be was audited.
`carry_out` makes it so (`runtime.amendment`); the original bytes stay in `quarantine`.

Taking records out keeps every frame's place and length, but its crcs change, and with them the chain: all frames
behind it are written anew, with the same records.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from sagakeep.audit import Audit
from sagakeep.codec import glance, void_of
from sagakeep.diagnosis import diagnose
from sagakeep.errors import JournalCorrupt, JournalError, SagaNotFound
from sagakeep.loss import Loss, Losses, Standing
from sagakeep.mending import WrongBit, find_wrong_bit
from sagakeep.overlay import OverlayDisk
from sagakeep.runtime import frame, segment
from sagakeep.runtime.amendment import Amendment, Replacement, amend
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_check import verify_journal
from sagakeep.runtime.journal_directory import Format, Head, Paths, read_file, read_format
from sagakeep.runtime.snapshot_file import DamagedSnapshot, Snapshot, read_snapshots
from sagakeep.salvage import Chain, ChainedSegment, Gap, cluttered_end, read_beyond, read_chain

BITS_MAX: Final = 64  # put back in one repair; a disk with more is not one to go on with
_DERIVED: Final = ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm")


class Plan(NamedTuple):
    """A repair that was thought through; `complaint` says what would still be wrong after it, "" for nothing."""

    what: str
    amendment: Amendment
    losses: tuple[Loss, ...]
    gaps: tuple[Gap, ...]
    complaint: str
    next_command: str  # what would help against the complaint, ""
    error: JournalCorrupt | None  # the complaint, when it has a place
    is_mending: bool = False  # it gives up nothing, so it is worth doing though a complaint is left

    @property
    def is_empty(self) -> bool:
        return not (self.amendment.replaced or self.amendment.removed)

    def told(self) -> dict[str, object]:
        """Return the plan as JSON has it."""
        return {
            "what": self.what,
            "lost": [one._asdict() for one in self.losses],
            "unreadable": [one._asdict() for one in self.gaps],
            "replaced": [one.path for one in self.amendment.replaced],
            "removed": list(self.amendment.removed),
            "goodAfter": not self.complaint,
            "complaint": self.complaint,
            "nextCommand": self.next_command,
        }


class NoBoundary(JournalError):
    """The journal cannot end at this position; the text names those where it can."""


def carry_out(disk: Disk, paths: Paths, plan: Plan) -> str:
    """Make a plan of a locked directory so, durably; return where the original bytes are."""
    report = json.dumps(plan.told(), ensure_ascii=False, indent=1).encode()
    return amend(disk, paths, plan.amendment, report)


def plan_truncation(disk: Disk, paths: Paths, position: int) -> Plan:
    """Let the journal end at a position. Raises NoBoundary where no frame ends."""
    chain = read_chain(disk, paths)
    kept = _kept_until(chain, position)
    losses = Losses()
    for found in read_beyond(disk, paths, chain, position):
        if isinstance(found, Gap):
            losses.gaps.append(found)
        else:
            losses.add_body(found.body)
    replaced = [*_cut(disk, paths, kept, position), *_notes(disk, paths, chain.uuid, kept)]
    for one in kept[:-1]:
        if (end := cluttered_end(disk, chain, one.path)) is not None:
            make = functools.partial(read_file, disk, one.path, end)
            replaced.append(Replacement(_inner(paths, one.path), make))
    beyond = []
    for snapshot in read_snapshots(_over(disk, paths, replaced, []), paths.root):
        if isinstance(snapshot, DamagedSnapshot):
            beyond.append(snapshot.path)
        elif snapshot.position > position:
            losses.add_snapshot(snapshot)
            beyond.append(_snapshot_path(paths, snapshot))
    names = [f"{paths.wal}/{name}" for name in disk.list(paths.wal) if segment.parse_name(name)]
    dropped = [path for path in names if path not in {one.path for one in kept}]
    amendment = _amendment(disk, paths, replaced, [*dropped, *beyond])
    return _tried(disk, paths, f"the journal ends at position {position}", amendment, losses)


def plan_quarantine(disk: Disk, paths: Paths, saga_ids: frozenset[str]) -> Plan:
    """Take all records of some sagas out. Raises JournalCorrupt when frames are damaged, or SagaNotFound."""
    losses = Losses()
    for found in verify_journal(disk, paths.root):
        for seen in glance(found.body):
            if seen.saga_id in saga_ids:
                losses.add_body(found.body[seen.offset : seen.end])
    if missing := saga_ids - losses.furthest.keys():
        raise SagaNotFound(min(missing))
    replaced: list[Replacement] = []
    previous_crc = 0
    for one in read_chain(disk, paths).segments:
        make = functools.partial(_without, disk, one, previous_crc, saga_ids)
        data, previous_crc = make()
        if data != read_file(disk, one.path):
            replaced.append(
                Replacement(_inner(paths, one.path), functools.partial(_bytes_of, make))
            )
    snapshots = [f"{paths.snap}/{name}" for name in disk.list(paths.snap) if name.endswith(".snap")]
    amendment = _amendment(disk, paths, replaced, snapshots)
    what = f"the records of {', '.join(sorted(saga_ids))} are taken out"
    return _tried(disk, paths, what, amendment, losses)


def plan_mending(disk: Disk, paths: Paths) -> Plan:
    """Do all that costs nothing: put bits back, clear what is of no frame, set bad snapshots aside."""
    wrong: list[str] = []  # snapshots that contradict the journal
    mends: dict[str, Mend] = {}
    while True:
        replaced = [
            Replacement(_inner(paths, path), functools.partial(_mended, disk, path, mend))
            for path, mend in mends.items()
        ]
        over = _over(disk, paths, replaced, [])  # in which FORMAT may be whole again
        snapshots = read_snapshots(over, paths.root)
        aside = [one.path for one in snapshots if isinstance(one, DamagedSnapshot)] + wrong
        amendment = _amendment(disk, paths, replaced, aside)
        told = _told_mending(mends, len(aside))
        plan = _tried(disk, paths, told, amendment, Losses())._replace(is_mending=True)
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


# What stays


def _kept_until(chain: Chain, position: int) -> tuple[ChainedSegment, ...]:
    """Return the segments that stay when the journal ends at a position."""
    for count, one in enumerate(chain.segments, start=1):
        if position in one.boundaries:
            return chain.segments[:count]
    if position == 0:
        return ()
    boundaries = [0, *(end for one in chain.segments for end in one.boundaries)]
    before = max((end for end in boundaries if end < position), default=0)
    after = min((end for end in boundaries if end > position), default=before)
    between = f"{before} and {after}" if after > before else f"{before}, where what is whole ends"
    raise NoBoundary(f"{position} is no position at which a frame ends; the nearest are {between}")


def _cut(
    disk: Disk, paths: Paths, kept: Sequence[ChainedSegment], position: int
) -> list[Replacement]:
    """Shorten the last segment, unless nothing stands behind the position."""
    if not kept:
        return []
    last = kept[-1]
    length = position - last.segment.base
    if not any(read_file(disk, last.path)[length:]):
        return []
    make = functools.partial(read_file, disk, last.path, length)
    return [Replacement(_inner(paths, last.path), make)]


def _notes(
    disk: Disk, paths: Paths, uuid: bytes, kept: Sequence[ChainedSegment]
) -> list[Replacement]:
    """Write FORMAT and HEAD anew where they do not say what is so."""
    last = kept[-1].segment if kept else None
    head = Head(uuid, last.number, last.base) if last else Head(uuid, 0, 0)
    notes = {"HEAD": head.encode()}
    try:
        read_format(disk, paths)
    except JournalCorrupt:
        notes["FORMAT"] = Format(uuid, 0).encode()
    if not disk.exists(paths.format):
        notes["FORMAT"] = Format(uuid, 0).encode()
    return [
        Replacement(name, functools.partial(bytes, data))
        for name, data in notes.items()
        if not disk.exists(f"{paths.root}/{name}")
        or read_file(disk, f"{paths.root}/{name}") != data
    ]


def _without(
    disk: Disk, one: ChainedSegment, previous_crc: int, saga_ids: frozenset[str]
) -> tuple[bytes, int]:
    """Return a segment without the records of some sagas, behind another frame, and its own last crc."""
    data = read_file(disk, one.path)
    this = one.segment._replace(previous_crc=previous_crc)
    pieces = [this.encode()]
    for found in frame.walk(data, segment.HEADER_BYTES, one.segment.place):
        body, taken = _voided(found.body, saga_ids)
        place = this.place._replace(previous_crc=previous_crc)
        count = found.header.records - taken
        piece, previous_crc = frame.encode_like(found.header, body, count, found.offset, place)
        pieces.append(piece)
    return b"".join((*pieces, data[one.ends[-1] :])), previous_crc


def _voided(body: bytes, saga_ids: frozenset[str]) -> tuple[bytes, int]:
    """Return a body whose records of some sagas are void, and how many those are."""
    changed, taken = bytearray(body), 0
    for seen in glance(body):
        if seen.saga_id in saga_ids:
            changed[seen.offset : seen.end] = void_of(seen.end - seen.offset)
            taken += 1
    return bytes(changed), taken


def _bytes_of(make: functools.partial[tuple[bytes, int]]) -> bytes:
    return make()[0]


# The plan


def _amendment(
    disk: Disk, paths: Paths, replaced: list[Replacement], removed: list[str]
) -> Amendment:
    """Collect the changes; what is derived goes with any of them."""
    derived = [name for name in _DERIVED if disk.exists(f"{paths.root}/{name}")]
    inner = tuple(_inner(paths, path) for path in removed)
    return Amendment(tuple(replaced), inner, tuple(derived) if replaced or removed else ())


def _tried(disk: Disk, paths: Paths, what: str, amendment: Amendment, losses: Losses) -> Plan:
    """Audit what the directory would be."""
    after = _over(disk, paths, amendment.replaced, (*amendment.removed, *amendment.derived))
    left: dict[str, Standing] = {}
    complaint = command = ""
    corrupt: JournalCorrupt | None = None
    try:
        for one in Audit(after, paths.root):
            if one.state.id in losses.furthest:
                left[one.state.id] = Standing(one.state.status, one.state.sequence)
    except JournalCorrupt as error:
        corrupt, complaint, command = error, str(error), diagnose(after, paths, error).command
    except JournalError as error:
        complaint = str(error)
    lost = losses.against(left)
    return Plan(what, amendment, lost, tuple(losses.gaps), complaint, command, corrupt)


def _over(
    disk: Disk, paths: Paths, replaced: Sequence[Replacement], removed: Sequence[str]
) -> OverlayDisk:
    """The disk as it would be."""
    makers = {f"{paths.root}/{one.path}": one.make for one in replaced}
    return OverlayDisk(disk, makers, frozenset(f"{paths.root}/{path}" for path in removed))


def _inner(paths: Paths, path: str) -> str:
    return path.removeprefix(f"{paths.root}/")


def _snapshot_path(paths: Paths, snapshot: Snapshot) -> str:
    return f"{paths.snap}/{snapshot.position:016x}.snap"
