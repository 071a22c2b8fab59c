"""Recovery: from what is on disk to what `Committed` would hold, had the process never ended.

    newest snapshot --> live sagas, counters
    journal tail    --> the same `note` that the running process calls for each record; here for what the records
                        of one piece together make of a saga, since nobody watches what was in between
                    --> registry.adopt each live saga, which asks what is outstanding

There is no code here that knows what a step is. When the read model is missing or behind the snapshot, the
whole journal is folded, which rebuilds it as it goes.

The fold runs in a thread, in pieces, so that the server answers (with 503) while it lasts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import trio

from sagakeep.actors.committed import Committed, Counters, Note, Statistics
from sagakeep.actors.history import History
from sagakeep.actors.live_sagas import Cut, Known, LiveSagas, decode_known
from sagakeep.actors.read_model import ReadModel
from sagakeep.codec import (
    CodecError,
    decode_plain,
    decode_records,
    encode_plain,
    glance_at_state,
)
from sagakeep.errors import JournalCorrupt
from sagakeep.events import Record
from sagakeep.runtime.blocking import RunBlocking, in_thread
from sagakeep.runtime.disk import Disk
from sagakeep.runtime.journal_files import JournalFiles, Position
from sagakeep.runtime.snapshot_file import read_newest_snapshot, write_snapshot
from sagakeep.state import FINAL, SagaState, SagaStatus
from sagakeep.transitions import ImpossibleEvent, buried, fold

_log = logging.getLogger(__name__)

PIECE_S = 0.2  # one piece of folding; between pieces the read model may catch up
NOTED_BETWEEN_CHECKPOINTS = 500  # records of a piece; ten microseconds each
ADDED_BETWEEN_CHECKPOINTS = 1_000  # of a snapshot's sagas; a microsecond each


class RecoverySummary(NamedTuple):
    """What recovery did, for the log and the health check."""

    live: int
    records: int
    events: int
    seconds: float
    from_snapshot: bool


class _Folded(NamedTuple):
    """One record: the status before it, None where it does not count, and the state after it."""

    before: SagaStatus | None
    state: SagaState
    record: Record
    position: Position


class _Piece(NamedTuple):
    """Some records in a row, as what they change of each saga, in the order of its last one."""

    net: list[_Folded]
    records: int
    events: int
    frame: int  # where the last record stands


async def recover(
    files: JournalFiles,
    disk: Disk,
    directory: str,
    committed: Committed,
    read_model: ReadModel,
    run_blocking: RunBlocking = in_thread,
    stopwatch: Callable[[], float] = time.monotonic,
) -> RecoverySummary:
    """Fill `committed` from the disk. Raises JournalCorrupt when a record does not follow from those before."""
    began_s = stopwatch()
    end = files.position
    snapshot = await run_blocking(_load_snapshot, disk, directory)
    if snapshot is not None and snapshot.position > files.end_found:
        file, offset = files.place_of(files.end_found - 1)
        reason = f"the journal ends before its snapshot at {snapshot.position}: frames are lost"
        raise JournalCorrupt(file, offset + 1, reason)
    use = snapshot is not None and snapshot.position <= read_model.applied_through
    start = 0
    if snapshot is not None and use:
        await _take_up(snapshot.live, committed.live)
        committed.counters = Counters(snapshot.statistics)
        start = snapshot.position
    folding = _fold_tail(files, start, committed.live.cut())
    records = events = 0
    while piece := await run_blocking(_next_piece, folding, stopwatch):
        for count, (before, state, record, position) in enumerate(piece.net, start=1):
            committed.note(Note(before, state, record), position)
            if count % NOTED_BETWEEN_CHECKPOINTS == 0:
                await trio.lowlevel.checkpoint()
        records += piece.records
        events += piece.events
        # A rebuild that is killed goes on from here. Not `synced`: a snapshot of half a frame would be wrong.
        read_model.mark(piece.frame)
        await read_model.wait_room()
    committed.synced(end)
    seconds = stopwatch() - began_s
    return RecoverySummary(len(committed.live), records, events, seconds, use)


async def _take_up(found: Sequence[Known | _Sleeper], live: LiveSagas) -> None:
    for count, entry in enumerate(found, start=1):
        if isinstance(entry, _Sleeper):
            live.add_asleep(*entry)
        else:
            live.note(*entry)
        if count % ADDED_BETWEEN_CHECKPOINTS == 0:
            await trio.lowlevel.checkpoint()


def _fold_tail(files: JournalFiles, start: int, known: Cut) -> Iterator[_Folded]:
    """Fold every record from `start` on."""
    # Of what the tail is about; None is a saga that was known, and is live no more.
    states: dict[str, SagaState | None] = {}
    erased: set[str] = set()  # whose deletion is still to come
    history = History(files)
    has_known = len(known) > 0
    for frame in files.scan(start):
        offset = 0
        try:
            for offset, record in decode_records(frame.body):
                before = states.get(record.saga_id)  # most often; the rest by the whole rule
                if before is None and (has_known or record.previous is not None):
                    before = _state_before(record, states, known, history, erased)
                state = fold(before, record)
                if state.is_erased:
                    (erased.add if record.is_erased else erased.discard)(record.saga_id)
                if not (state.deleted or state.status in FINAL):
                    states[record.saga_id] = state
                elif has_known and record.saga_id in known:
                    states[record.saga_id] = None
                else:
                    states.pop(record.saga_id, None)
                is_counted = before is not None and not before.deleted
                status = before.status if before and is_counted else None
                yield _Folded(status, state, record, Position(frame.position, offset))
        except (CodecError, ImpossibleEvent) as error:
            place = error.offset if isinstance(error, CodecError) else offset
            reason = f"record at byte {place} of the frame: {error}"
            raise JournalCorrupt(*files.place_of(frame.position), reason, place) from error


def _state_before(
    record: Record,
    states: dict[str, SagaState | None],
    known: Cut,
    history: History,
    erased: set[str],
) -> SagaState | None:
    """The state that a record changes, None when it begins a saga."""
    if record.saga_id in erased:
        return buried(record)
    if record.saga_id in states:
        before = states[record.saga_id]
    else:
        live = known.get(record.saga_id)
        before = None if live is None else live[0]
    if before is None and record.previous is not None:
        return history.state_now(record.previous)  # it was finished, and woken
    return before


def _must_be_told(before: SagaState, after: SagaState) -> bool:
    """Would something be lost if only what came after it were told? How long a first completion took is taken off
    when there is a second one, and of an erased saga only the first record has its key."""
    completes_again = before.completed_at_utc_s not in (0.0, after.completed_at_utc_s)
    return completes_again or (before.is_erased and before.idempotency_key != after.idempotency_key)


def _next_piece(folding: Iterator[_Folded], stopwatch: Callable[[], float]) -> _Piece | None:
    until_s = stopwatch() + PIECE_S
    net: dict[str, _Folded] = {}
    apart: list[_Folded] = []  # what is told before what came after it for the same saga
    records = events = frame = 0
    for folded in folding:
        saga_id = folded.state.id
        earlier = net.pop(saga_id, None)
        if earlier is not None and _must_be_told(earlier.state, folded.state):
            apart.append(earlier)
        elif earlier is not None:
            folded = folded._replace(before=earlier.before)
        net[saga_id] = folded
        records += 1
        events += len(folded.record.events)
        frame = folded.position.frame
        if stopwatch() > until_s:
            break
    return _Piece([*apart, *net.values()], records, events, frame) if records else None


# Snapshots


class _Sleeper(NamedTuple):
    """A saga that sleeps, as LiveSagas takes it up."""

    saga_id: str
    data: bytes
    wakes_at_utc_s: float


class _Snapshot(NamedTuple):
    position: int
    live: list[Known | _Sleeper]
    statistics: Statistics


def _load_snapshot(disk: Disk, directory: str) -> _Snapshot | None:
    """The newest snapshot that can be read and understood; without one, all is folded from the journal."""
    stored = read_newest_snapshot(disk, directory)
    if stored is None:
        return None
    try:
        head, *rest = stored.chunks
        statistics = msgspec.convert(decode_plain(head), Statistics)
        live = [_entry(data) for data in rest]
    except (CodecError, msgspec.ValidationError, ValueError) as error:
        _log.warning("the snapshot at %d is not used: %s", stored.position, error)
        return None
    return _Snapshot(stored.position, live, statistics)


def _entry(data: bytes) -> Known | _Sleeper:
    glance = glance_at_state(data)
    if glance.wakes_at_utc_s is None:
        return decode_known(data)
    return _Sleeper(glance.saga_id, data, glance.wakes_at_utc_s)


def save_snapshot(
    disk: Disk, directory: str, through: int, live: Cut, statistics: Statistics
) -> None:
    """Write what is live at a journal position, and use it up; durable and verified when it returns. Blocks."""

    def chunks() -> Iterator[bytes]:
        yield encode_plain(msgspec.to_builtins(statistics))
        yield from live.use_up()

    write_snapshot(disk, directory, through, chunks())
