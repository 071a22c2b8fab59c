"""Repairs: give up, knowingly, what cannot be had back, so that the rest of a damaged journal can be used again.

    plan_truncation     the journal ends at a position; what stands behind it is lost
    plan_quarantine     the records of some sagas are taken out, in place: no position changes

What can be mended without a loss is in `mend`.

Taking records out keeps every frame's place and length, but its crcs change, and with them the chain: all frames
behind it are written anew, with the same records.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from sagakeep.codec import glance
from sagakeep.errors import JournalCorrupt, JournalError, SagaNotFound
from sagakeep.offline.loss import Losses
from sagakeep.offline.repair_plan import Plan, amendment_of, inner_path, overlay_of, tried
from sagakeep.offline.rewriting import plain_path, unarchived, without
from sagakeep.offline.salvage import (
    Chain,
    ChainedSegment,
    Gap,
    cluttered_end,
    read_beyond,
    read_chain,
    segment_paths,
)
from sagakeep.runtime.amendment import Replacement
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_check import verify_journal
from sagakeep.runtime.journal_directory import Format, Head, Paths, read_file, read_format
from sagakeep.runtime.snapshot_file import DamagedSnapshot, Snapshot, read_snapshots


class NoBoundary(JournalError):
    """The journal cannot end at this position; the text names those where it can."""


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
    replaced += _cleared(disk, paths, chain, kept)
    beyond = []
    for snapshot in read_snapshots(overlay_of(disk, paths, replaced, []), paths.root):
        if isinstance(snapshot, DamagedSnapshot):
            beyond.append(snapshot.path)
        elif snapshot.position > position:
            losses.add_snapshot(snapshot)
            beyond.append(_snapshot_path(paths, snapshot))
    staying = {one.path for one in kept[:-1]} | {plain_path(paths, one) for one in kept[-1:]}
    dropped = [path for _, _, path in segment_paths(disk, paths) if path not in staying]
    amendment = amendment_of(disk, paths, replaced, [*dropped, *beyond])
    return tried(disk, paths, f"the journal ends at position {position}", amendment, losses)


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
        make = functools.partial(without, disk, one, previous_crc, saga_ids)
        data, previous_crc = make()
        if data != read_file(disk, one.path):
            replaced.append(
                Replacement(inner_path(paths, one.path), functools.partial(_bytes_of, make))
            )
    snapshots = [f"{paths.snap}/{name}" for name in disk.list(paths.snap) if name.endswith(".snap")]
    amendment = amendment_of(disk, paths, replaced, snapshots)
    what = f"the records of {', '.join(sorted(saga_ids))} are taken out"
    return tried(disk, paths, what, amendment, losses)


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
    """Shorten the last segment, unless nothing stands behind the position; an archived one is a segment again."""
    if not kept:
        return []
    last = kept[-1]
    length = position - last.segment.base
    if last.is_archived:
        make = functools.partial(unarchived, disk, last, length)
        return [Replacement(inner_path(paths, plain_path(paths, last)), make)]
    if not any(read_file(disk, last.path)[length:]):
        return []
    cut = functools.partial(read_file, disk, last.path, length)
    return [Replacement(inner_path(paths, last.path), cut)]


def _cleared(
    disk: Disk, paths: Paths, chain: Chain, kept: Sequence[ChainedSegment]
) -> list[Replacement]:
    """Take away what stands behind the ends of the segments before the last."""
    ends = [(one.path, cluttered_end(disk, chain, one.path)) for one in kept[:-1]]
    return [
        Replacement(inner_path(paths, path), functools.partial(read_file, disk, path, end))
        for path, end in ends
        if end is not None
    ]


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


def _bytes_of(make: functools.partial[tuple[bytes, int]]) -> bytes:
    return make()[0]


def _snapshot_path(paths: Paths, snapshot: Snapshot) -> str:
    return f"{paths.snap}/{snapshot.position:016x}.snap"
