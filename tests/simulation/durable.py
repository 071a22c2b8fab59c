"""What the journal has durably promised, followed past the product: each frame, once it was synced.

`records` only grows; `states` and `versions` are folds of it. A frame that was written when a process ended is
in doubt: it may be on the disk or not, and nobody may have relied on it. `DurableLog.read` takes the disk's word
after a recovery.
"""

from __future__ import annotations

from typing import NamedTuple

from sagakeep.codec import decode_record, decode_records, encode_record
from sagakeep.erasure import erase_record
from sagakeep.events import Record
from sagakeep.runtime import frame, segment
from sagakeep.runtime.journal_check import verify_journal
from sagakeep.runtime.journal_files import Position
from sagakeep.runtime.segment import Segment
from sagakeep.simulation.disk import MemoryDisk
from sagakeep.simulation.world import DIRECTORY
from sagakeep.state import SagaState
from sagakeep.transitions import fold


class Placed(NamedTuple):
    """A record and where it stands."""

    position: Position
    record: Record


def erased(placed: Placed) -> Placed:
    """The same record when it was erased."""
    left = decode_record(erase_record(encode_record(placed.record)))
    return Placed(placed.position, left)


def read_journal(disk: MemoryDisk) -> list[Placed]:
    """Every record of a journal that was made, none of one that was not. Raises JournalCorrupt."""
    if f"{DIRECTORY}/FORMAT" not in disk.names:
        return []
    return [
        Placed(Position(found.position, offset), record)
        for found in verify_journal(disk, DIRECTORY)
        for offset, record in decode_records(found.body)
    ]


class DurableLog:
    """Records in order, and what they amount to."""

    def __init__(self) -> None:
        self.records: list[Placed] = []
        self.states: dict[str, SagaState] = {}
        self.versions: dict[tuple[str, int], SagaState] = {}  # by saga and sequence
        self.of_saga: dict[str, list[Record]] = {}
        self.end = 0  # position behind the last frame
        self._written: dict[str, list[bytes]] = {}
        self._segments: dict[str, Segment] = {}

    def wrote(self, path: str, data: bytes, offset: int) -> None:
        """Bytes of a file were written."""
        if not path.endswith(".seg"):
            return
        if offset == 0:
            self._segments[path] = segment.decode(data, path)
        else:
            self._written.setdefault(path, []).append(data)

    def synced_records(self, path: str) -> list[Placed]:
        """The records that became durable by this, which are to be added."""
        fresh: list[Placed] = []
        for data in self._written.pop(path, ()):
            fresh += self._decode(self._segments[path], data)
        return fresh

    def is_begun(self, path: str) -> bool:
        """Was the header of this segment written?"""
        return path in self._segments

    def _decode(self, of: Segment, data: bytes) -> list[Placed]:
        header = frame.decode_header(data, 0, of.place.seed)
        assert header is not None, "the writer writes whole frames"
        self.end = header.position + header.frame_bytes
        if header.flags & frame.CLOSED:
            return []
        body = frame.decode_body(data, 0, header)
        assert body is not None, "and their bodies"
        return [
            Placed(Position(header.position, offset), record)
            for offset, record in decode_records(body)
        ]

    def add(self, placed: Placed) -> SagaState:
        """One more record is durable. Raises ImpossibleEvent when it does not follow."""
        record = placed.record
        state = fold(self.states.get(record.saga_id), record)
        self.records.append(placed)
        self.states[record.saga_id] = state
        self.versions[record.saga_id, state.sequence] = state
        self.of_saga.setdefault(record.saga_id, []).append(record)
        return state

    def forget_unsynced(self) -> None:
        """The process is no more; what it had written is in doubt."""
        self._written.clear()
