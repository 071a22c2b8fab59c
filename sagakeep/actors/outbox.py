"""The outbox of one webhook: which sagas have come to rest and are still to be told.

    journal   |####################|............|     a frame is handled when all of it was told
              0                 cursor         end
                                     '- recent -'      in memory, as far back as it reaches; else read again

The journal itself is the outbox: nothing is written for an event, and what was not told before a kill is found
again from the cursor on, which is durable a few seconds late. So everything is told at least once, and what is of
one saga in the order of the journal.

A receiver that is down costs no memory: beyond OUTBOX_EVENTS_MAX the oldest are forgotten, and read when it is
back.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import trio

from sagakeep import limits
from sagakeep.actors.committed import Committed, Note
from sagakeep.actors.history import History
from sagakeep.codec import decode_records
from sagakeep.errors import JournalError
from sagakeep.runtime.blocking import RunBlocking
from sagakeep.runtime.cursor_file import CursorFile
from sagakeep.runtime.journal_files import JournalFiles, Position
from sagakeep.transitions import TRANSITIONS
from sagakeep.webhook import TOLD, Message, WebhookSpec, saga_message, source_of

_log: Final = logging.getLogger(__name__)

EVENTS_AT_ONCE: Final = 64  # in one batch
READ_FRAMES: Final = 256  # in one go of a thread
_RESTS: Final = frozenset(
    event
    for status, row in TRANSITIONS.items()
    for event, after in row.items()
    if after in TOLD and after is not status
)


class _Recent(NamedTuple):
    frame: int
    message: Message


class Batch(NamedTuple):
    """What to tell next; then every frame before `through` is handled."""

    messages: list[Message]
    through: int


class Outbox:
    """Gives batches; `handled` moves the cursor on."""

    def __init__(
        self,
        spec: WebhookSpec,
        files: JournalFiles,
        history: History,
        committed: Committed,
        cursor_file: CursorFile,
        run_blocking: RunBlocking,
    ) -> None:
        self.cursor = 0
        self._spec = spec
        self._files = files
        self._history = history
        self._committed = committed
        self._cursor_file = cursor_file
        self._run_blocking = run_blocking
        self._source = source_of(files.uuid)
        self._recent: deque[_Recent] = deque()
        self._complete_from = 0  # `recent` has all that is to be told of this frame and later ones
        self._saved = -1
        self._arrived = trio.Event()

    @property
    def waiting(self) -> int:
        """How many events wait in memory."""
        return len(self._recent)

    async def begin(self) -> None:
        """Take up where the last process was; a new webhook begins with what happens from now on.

        Raises JournalError when the cursor is there and cannot be read.
        """
        self._complete_from = self._files.position
        try:
            cursor = await self._run_blocking(self._cursor_file.load)
        except OSError as error:
            raise JournalError(f"{self._cursor_file.path}: {error}: mend the disk") from error
        self.cursor = self._complete_from if cursor is None else min(cursor, self._complete_from)
        await self.save()

    async def save(self) -> None:
        """Make the cursor durable, if it has moved; what goes wrong is told and tried again at the next move."""
        if self.cursor == self._saved:
            return
        cursor = self.cursor
        try:
            await self._run_blocking(self._cursor_file.save, cursor)
        except OSError as error:
            _log.warning(
                "%s: %s: after a kill more is told again; mend the disk",
                self._cursor_file.path,
                error,
            )
        else:
            self._saved = cursor

    @property
    def behind_bytes(self) -> int:
        """How much of the journal is not known to be told."""
        return max(0, self._committed.through - self.cursor)

    def moved(self, note: Note, position: Position) -> None:
        """A saga's status has changed."""
        if note.before is note.state.status or not self._spec.wants(note.state):
            return
        self._recent.append(_Recent(position.frame, saga_message(note.state, self._source)))
        if len(self._recent) > limits.OUTBOX_EVENTS_MAX:
            self._complete_from = self._recent.popleft().frame + 1
            while self._recent and self._recent[0].frame < self._complete_from:
                self._recent.popleft()
        self._arrived.set()

    async def next_batch(self) -> Batch:
        """What is to be told next; no message when nothing is, but the cursor may move on."""
        if self.cursor < self._complete_from:
            return await self._run_blocking(self._read, self.cursor, self._complete_from)
        count = min(EVENTS_AT_ONCE, len(self._recent))
        taken = [self._recent.popleft() for _ in range(count)]
        messages = [one.message for one in taken]
        if self._recent:
            return Batch(messages, self._recent[0].frame)
        through = taken[-1].frame if taken else self._committed.through  # more of it may come
        return Batch(messages, max(self.cursor, through))

    def handled(self, batch: Batch) -> None:
        """All of it was told, or given up."""
        self.cursor = max(self.cursor, batch.through)

    def rewind(self) -> None:
        """What was taken may not have been told: read it again, from the cursor on."""
        last = self._recent[-1].frame + 1 if self._recent else 0
        self._recent.clear()
        self._complete_from = max(self._complete_from, self._committed.through, last)

    async def wait_more(self, at_most_s: float) -> None:
        """Wait until there is something to tell, or for so long."""
        if self._recent or self.cursor < self._complete_from:
            return
        self._arrived = trio.Event()
        with trio.move_on_after(at_most_s):
            await self._arrived.wait()

    def _read(self, start: int, end: int) -> Batch:
        """Read again what memory has forgotten, or never had."""
        messages: list[Message] = []
        for count, frame in enumerate(self._files.scan(start), start=1):
            if frame.position >= end:
                break
            messages += self._of_frame(frame.position, frame.body)
            if len(messages) >= EVENTS_AT_ONCE or count >= READ_FRAMES:
                return Batch(messages, frame.position + 1)
        return Batch(messages, end)

    def _of_frame(self, position: int, body: bytes) -> Iterator[Message]:
        for offset, record in decode_records(body):
            if any(type(event) in _RESTS for event in record.events):
                state = self._history.state_now(Position(position, offset))
                if self._spec.wants(state):
                    yield saga_message(state, self._source)
