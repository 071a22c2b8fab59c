"""The sagas of a directory as they are now, each once, without a server and without an index.

The journal is read twice: first for the number of each saga's last event, then each saga is told where its last
record stands. So memory holds a number for each saga, and no state of a finished one. The directory may be in
use; what is written after the first reading is not told.
"""

from __future__ import annotations

from collections.abc import Iterator

from sagakeep.offline.audit import Audit
from sagakeep.published import SagaView
from sagakeep.runtime.disk import LocalDisk
from sagakeep.state import SagaState
from sagakeep.view import saga_view


def sagas_in(directory: str) -> Iterator[SagaView]:
    """Yield every saga as it is shown. As `states_in`."""
    return map(saga_view, states_in(directory))


def states_in(directory: str) -> Iterator[SagaState]:
    """Yield every saga that is not deleted, in the order of its last change.

    Raises JournalCorrupt, before the first one, and JournalError when there is no journal.
    """
    last = {record.saga_id: state.sequence for record, state in Audit(LocalDisk(), directory)}
    for record, state in Audit(LocalDisk(), directory):
        if last.get(record.saga_id) == state.sequence and not state.deleted:
            yield state
