"""What a repair gives up, told by saga: events, and bytes of which nobody knows what they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sagakeep.codec import CodecError, decode_state, glance
from sagakeep.offline.salvage import Gap
from sagakeep.runtime.snapshot_file import Snapshot


class Loss(NamedTuple):
    """The events `first` to `last` of a saga are given up; then its status is `after`, "" for no saga at all."""

    saga_id: str
    first: int
    last: int
    after: str


class Standing(NamedTuple):
    """How far a saga is."""

    status: str
    sequence: int


class Losses:
    """Collects how far sagas had come by what is given up."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.furthest: dict[str, int] = {}

    def add_body(self, body: bytes) -> None:
        """Records of a frame that is given up; they need not be good ones."""
        for seen in glance(body):
            if seen.saga_id is not None and seen.sequence is not None:
                self._reach(seen.saga_id, seen.sequence + max(seen.events, 1) - 1)

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """A snapshot from behind the end knows how far its sagas had come."""
        for chunk in snapshot.chunks[1:]:
            try:
                state, _ = decode_state(chunk)
            except CodecError:
                continue
            self._reach(state.id, state.sequence)

    def against(self, left: Mapping[str, Standing]) -> tuple[Loss, ...]:
        """Return what is lost when this is what is left."""
        losses = []
        for saga_id, last in sorted(self.furthest.items()):
            standing = left.get(saga_id, Standing("", 0))
            if standing.sequence < last:
                losses.append(Loss(saga_id, standing.sequence + 1, last, standing.status))
        return tuple(losses)

    def _reach(self, saga_id: str, sequence: int) -> None:
        self.furthest[saga_id] = max(sequence, self.furthest.get(saga_id, 0))
