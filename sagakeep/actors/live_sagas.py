"""The table of live sagas: the durable state of each, a value while it is awake and bytes while it sleeps.

    shard 0    {id: (state, position), id: bytes, ...}          in use
    shard 1    {id: bytes, ...}                                  shared with a cut: copied before it is changed
    ...

A saga that only waits (for a time, or for an operator) is kept as the bytes that a snapshot would hold of it, a
fifth of its size as a value: a million of them fit where a hundred thousand did. Whoever asks for it gets it as
a value.

A cut is all of the table at one instant. It costs a list of the shards; the table then copies a shard before
it first changes it, a few microseconds each time, so that no cut and no growth of one large table holds
the loop. The idea is that of copy-on-write pages, as Redis uses them for its snapshots.

Only the loop's thread changes the table; a cut may be read in any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final
from zlib import crc32

from sagakeep.codec import decode_state, encode_state, glance_at_state
from sagakeep.runtime.journal_files import Position
from sagakeep.state import SagaState

SHARDS: Final = 256  # of a million sagas one has 4,000: copied in less than 0.1 ms
_MASK: Final = SHARDS - 1

Known = tuple[SagaState, Position]
Shard = dict[str, Known | bytes]


class _Shards:
    """Live sagas by shard, to be read."""

    def __init__(self, shards: list[Shard]) -> None:
        self._shards = shards

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __contains__(self, saga_id: str) -> bool:
        return saga_id in self._shards[_index(saga_id)]

    def get(self, saga_id: str) -> Known | None:
        """The saga's durable state and where its last record stands; decoded, when it sleeps."""
        entry = self._shards[_index(saga_id)].get(saga_id)
        return decode_known(entry) if isinstance(entry, bytes) else entry

    def items(self) -> Iterator[tuple[str, Known]]:
        """Every saga as a value; for a look at few, since those that sleep are decoded."""
        for shard in self._shards:
            for saga_id, entry in shard.items():
                yield saga_id, decode_known(entry) if isinstance(entry, bytes) else entry

    def entries(self) -> Iterator[Known | bytes]:
        """Every saga as it is kept."""
        return chain.from_iterable(shard.values() for shard in self._shards)

    def encoded(self) -> Iterator[bytes]:
        """Every saga as bytes (`sagakeep.codec.encode_state`)."""
        for entry in self.entries():
            yield entry if isinstance(entry, bytes) else encode_state(*entry)


class Cut(_Shards):
    """The live sagas at one instant; never changes."""


class LiveSagas(_Shards):
    """The table itself: what is durable of every live saga now."""

    def __init__(self) -> None:
        super().__init__([{} for _ in range(SHARDS)])
        self._is_shared = [False] * SHARDS
        self.asleep_count = 0

    def ids(self) -> Iterator[str]:
        """Every id; the table may change while they are read."""
        for index in range(SHARDS):
            yield from list(self._shards[index])

    def wakes_at_utc_s(self, saga_id: str) -> float | None:
        """Until when it sleeps, 0 for an operator's word; None when it is awake or not live."""
        entry = self._shards[_index(saga_id)].get(saga_id)
        return glance_at_state(entry).wakes_at_utc_s if isinstance(entry, bytes) else None

    def position(self, saga_id: str) -> tuple[int, int] | None:
        """Where its last record stands, without waking it."""
        entry = self._shards[_index(saga_id)].get(saga_id)
        return glance_at_state(entry).last if isinstance(entry, bytes) else entry and entry[1]

    def note(self, state: SagaState, position: Position) -> None:
        """This is its state now; it is awake."""
        shard = self._own(state.id)
        if self.asleep_count and isinstance(shard.get(state.id), bytes):
            self.asleep_count -= 1
        shard[state.id] = (state, position)

    def add(self, saga_id: str, entry: Known | bytes) -> None:
        """Take up a saga from a snapshot, as a value if it has something to do."""
        self._own(saga_id)[saga_id] = entry
        self.asleep_count += isinstance(entry, bytes)

    def lull(self, saga_id: str, wakes_at_utc_s: float) -> None:
        """Let it sleep until a time, 0 for an operator's word."""
        entry = self._shards[_index(saga_id)][saga_id]
        assert not isinstance(entry, bytes), "who sleeps is not lulled"
        self._own(saga_id)[saga_id] = encode_state(*entry, wakes_at_utc_s)
        self.asleep_count += 1

    def wake(self, saga_id: str) -> Known | None:
        """Its state as a value again, None when it does not sleep."""
        entry = self._shards[_index(saga_id)].get(saga_id)
        if not isinstance(entry, bytes):
            return None
        known = self._own(saga_id)[saga_id] = decode_known(entry)
        self.asleep_count -= 1
        return known

    def discard(self, saga_id: str) -> None:
        """It is live no more, if it was."""
        entry = self._own(saga_id).pop(saga_id, None)
        if isinstance(entry, bytes):
            self.asleep_count -= 1

    def cut(self) -> Cut:
        """All of it at this instant, in constant time."""
        self._is_shared = [True] * SHARDS
        return Cut(list(self._shards))

    def _own(self, saga_id: str) -> Shard:
        """Its shard, for changing it."""
        index = _index(saga_id)
        if self._is_shared[index]:
            self._is_shared[index] = False
            self._shards[index] = self._shards[index].copy()
        return self._shards[index]


def _index(saga_id: str) -> int:
    return (
        crc32(saga_id.encode()) & _MASK
    )  # not hash(): the same in every process, as a replay needs it


def decode_known(data: bytes) -> Known:
    """A saga as a value. Raises CodecError."""
    state, last = decode_state(data)
    return state, Position(*last)
