"""The table of live sagas: the durable state of each, a value while it is awake and bytes while it sleeps.

    awake     shard 0 {id: (state, position), ...}   shard 1 ...
    asleep    shard 0 {id: bytes, ...}               shard 1 ...      shared with a cut, then copied to change

A saga that only waits (for a time, or for an operator) is kept as the bytes that a snapshot would hold of it, a
fifth of its size as a value: a million of them fit where a hundred thousand did. Whoever asks for it gets it as
a value.

A cut is all of the table at one instant. It costs a list of the shards; the table then copies a shard before
it first changes it, a few microseconds each time, so that no cut and no growth of one large table holds
the loop. The idea is that of copy-on-write pages, as Redis uses them for its snapshots.

Whoever looks after those that sleep need not look at each: how many should have been woken by a time is counted
where they fall asleep and wake, and who waits for an operator is in a set.

Only the loop's thread changes the table; a cut may be read in any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final, Generic, TypeVar
from zlib import crc32

from sagakeep.alert import due_utc_s
from sagakeep.codec import decode_sleeper, decode_state, encode_state, glance_at_state, state_packer
from sagakeep.runtime.due_tally import DueTally
from sagakeep.runtime.journal_files import Position
from sagakeep.state import SagaState

SHARDS: Final = 256  # of a million sagas one has 4,000: copied in less than 0.1 ms
_MASK: Final = SHARDS - 1

Known = tuple[SagaState, Position]
V = TypeVar("V")


class _Shards(Generic[V]):
    """One half of the table: a dictionary in pieces, each copied before it changes while a cut has it."""

    __slots__ = ("_is_shared", "pieces")

    def __init__(self) -> None:
        self.pieces: list[dict[str, V]] = [{} for _ in range(SHARDS)]
        self._is_shared = [False] * SHARDS

    def share(self) -> list[dict[str, V]]:
        """All of it as it is now."""
        self._is_shared = [True] * SHARDS
        return list(self.pieces)

    def own(self, index: int) -> dict[str, V]:
        """A piece, for changing it."""
        if self._is_shared[index]:
            self._is_shared[index] = False
            self.pieces[index] = self.pieces[index].copy()
        return self.pieces[index]


class _Readable:
    """Live sagas, to be read."""

    def __init__(self, awake: list[dict[str, Known]], asleep: list[dict[str, bytes]]) -> None:
        self._awake = awake
        self._asleep = asleep

    def __len__(self) -> int:
        return sum(map(len, self._awake)) + sum(map(len, self._asleep))

    def __contains__(self, saga_id: str) -> bool:
        index = _index(saga_id)
        return saga_id in self._awake[index] or saga_id in self._asleep[index]

    def get(self, saga_id: str) -> Known | None:
        """The saga's durable state and where its last record stands; decoded, when it sleeps."""
        index = _index(saga_id)
        known = self._awake[index].get(saga_id)
        if known is not None:
            return known
        data = self._asleep[index].get(saga_id)
        return None if data is None else decode_known(data)

    def items(self) -> Iterator[tuple[str, Known]]:
        """Every saga as a value; for a look at few, since those that sleep are decoded."""
        for awake in self._awake:
            yield from awake.items()
        for asleep in self._asleep:
            for saga_id, data in asleep.items():
                yield saga_id, decode_known(data)

    def awake(self) -> Iterator[Known]:
        """Every saga that is awake."""
        return chain.from_iterable(piece.values() for piece in self._awake)

    def asleep(self) -> Iterator[bytes]:
        """Every saga that sleeps, as it is kept."""
        return chain.from_iterable(piece.values() for piece in self._asleep)


class Cut(_Readable):
    """The live sagas at one instant; never changes, but for being used up."""

    def use_up(self) -> Iterator[bytes]:
        """Every saga as bytes (`sagakeep.codec.encode_state`); what was read is let go of.

        What the table has changed meanwhile is so freed piece by piece in the thread that reads: all at once,
        after a million had woken, it held the loop for over a second.
        """
        pack = state_packer()
        for index in range(SHARDS):
            awake, self._awake[index] = self._awake[index], {}
            for known in awake.values():
                yield encode_state(*known, pack=pack)
            asleep, self._asleep[index] = self._asleep[index], {}
            yield from asleep.values()


class LiveSagas(_Readable):
    """The table itself: what is durable of every live saga now. `waiting_for_operator` has those that sleep
    until somebody says a word."""

    def __init__(self) -> None:
        self._values: _Shards[Known] = _Shards()
        self._bytes: _Shards[bytes] = _Shards()
        super().__init__(self._values.pieces, self._bytes.pieces)
        self.asleep_count = 0
        self.waiting_for_operator: dict[str, None] = {}
        self._wakes = DueTally()
        self._pack = state_packer()

    def is_asleep(self, saga_id: str) -> bool:
        """Is it kept as bytes?"""
        return saga_id in self._asleep[_index(saga_id)]

    def awake_ids(self) -> Iterator[str]:
        """Every id of who is awake; the table may change while they are read."""
        for index in range(SHARDS):
            yield from list(self._awake[index])

    def asleep_ids(self) -> Iterator[str]:
        """Every id of who sleeps; the table may change while they are read."""
        for index in range(SHARDS):
            yield from list(self._asleep[index])

    def overdue_count(self, by_utc_s: float) -> int:
        """How many sleep that were to be woken before this time, to DueTally's precision."""
        return self._wakes.late(by_utc_s)

    def wakes_at_utc_s(self, saga_id: str) -> float | None:
        """Until when it sleeps, 0 for an operator's word; None when it is awake, in a queue, or not live."""
        data = self._asleep[_index(saga_id)].get(saga_id)
        return None if data is None else glance_at_state(data).wakes_at_utc_s

    def due_utc_s(self, saga_id: str) -> float | None:
        """By when who sleeps should be woken, 0 if that is for an operator to say; None if it does not sleep."""
        data = self._asleep[_index(saga_id)].get(saga_id)
        if data is None:
            return None
        wakes_at_utc_s = glance_at_state(data).wakes_at_utc_s
        return due_utc_s(decode_known(data)[0]) if wakes_at_utc_s is None else wakes_at_utc_s

    def position(self, saga_id: str) -> tuple[int, int] | None:
        """Where its last record stands, without waking it."""
        index = _index(saga_id)
        known = self._awake[index].get(saga_id)
        if known is not None:
            return known[1]
        data = self._asleep[index].get(saga_id)
        return None if data is None else glance_at_state(data).last

    def note(self, state: SagaState, position: Position) -> None:
        """This is its state now; it is awake."""
        index = _index(state.id)
        if self.asleep_count and state.id in self._asleep[index]:
            self._forget_asleep(state.id, index)
        self._values.own(index)[state.id] = (state, position)

    def add_asleep(self, saga_id: str, data: bytes, wakes_at_utc_s: float) -> None:
        """Take up one that sleeps until a time, 0 for an operator's word."""
        self._bytes.own(_index(saga_id))[saga_id] = data
        self.asleep_count += 1
        if wakes_at_utc_s:
            self._wakes.add(wakes_at_utc_s)
        else:
            self.waiting_for_operator[saga_id] = None

    def lull(self, saga_id: str, wakes_at_utc_s: float) -> None:
        """Let it sleep until a time, 0 for an operator's word."""
        known = self._values.own(_index(saga_id)).pop(saga_id)
        self.add_asleep(saga_id, encode_state(*known, wakes_at_utc_s, self._pack), wakes_at_utc_s)

    def lull_in_queue(self, saga_id: str) -> None:
        """Let it sleep until a service's queue wakes it; after a start it is awake, for the queue is gone."""
        state, position = self._values.own(_index(saga_id)).pop(saga_id)
        self._bytes.own(_index(saga_id))[saga_id] = encode_state(state, position, pack=self._pack)
        self.asleep_count += 1
        self._wakes.add(due_utc_s(state))

    def wake(self, saga_id: str) -> Known | None:
        """Its state as a value again, None when it does not sleep."""
        index = _index(saga_id)
        data = self._asleep[index].get(saga_id)
        if data is None:
            return None
        state, last, wakes_at_utc_s = decode_sleeper(data)
        is_queued = wakes_at_utc_s is None
        self._take_off(saga_id, index, due_utc_s(state) if is_queued else wakes_at_utc_s)
        known = self._values.own(index)[saga_id] = state, Position(*last)
        return known

    def discard(self, saga_id: str) -> None:
        """It is live no more, if it was."""
        index = _index(saga_id)
        if self._values.own(index).pop(saga_id, None) is None and saga_id in self._asleep[index]:
            self._forget_asleep(saga_id, index)

    def cut(self) -> Cut:
        """All of it at this instant, in constant time."""
        return Cut(self._values.share(), self._bytes.share())

    def _forget_asleep(self, saga_id: str, index: int) -> None:
        self._take_off(saga_id, index, self.due_utc_s(saga_id))

    def _take_off(self, saga_id: str, index: int, wakes_at_utc_s: float | None) -> None:
        del self._bytes.own(index)[saga_id]
        self.asleep_count -= 1
        if wakes_at_utc_s:
            self._wakes.take_off(wakes_at_utc_s)
        else:
            self.waiting_for_operator.pop(saga_id, None)


def _index(saga_id: str) -> int:
    return (
        crc32(saga_id.encode()) & _MASK
    )  # not hash(): the same in every process, as a replay needs it


def decode_known(data: bytes) -> Known:
    """A saga as a value. Raises CodecError."""
    state, last = decode_state(data)
    return state, Position(*last)
