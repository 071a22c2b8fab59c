from __future__ import annotations

import msgspec
import pytest
from event_samples import DEFINITION

from sagakeep import events as e
from sagakeep.actors.committed import Committed, Counters, Note, Statistics
from sagakeep.events import Record
from sagakeep.runtime.journal_files import Position
from sagakeep.state import FINAL, MOVING, SagaState, SagaStatus
from sagakeep.transitions import birth

NOON = 1_700_000_000.0
RECORD = Record("order-1", 1, NOON, None, (e.SagaCompleted(),))
BORN = birth("order-1", e.SagaCreated(DEFINITION), NOON)


class Rows:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def note(self, state: SagaState, position: tuple[int, int]) -> None:
        self.told.append((state.id, position))

    def mark(self, through: int) -> None:
        self.told.append(through)


class Watching:
    def __init__(self) -> None:
        self.seen: list[SagaStatus] = []
        self.ended = 0

    def __call__(self, state: SagaState, record: Record) -> None:
        self.seen.append(state.status)

    def end(self) -> None:
        self.ended += 1


def state(status: SagaStatus, *, deleted: bool = False, seconds: float = 0.0) -> SagaState:
    return msgspec.structs.replace(
        BORN, status=status, deleted=deleted, completed_at_utc_s=NOON + seconds
    )


def note(before: SagaStatus | None, after: SagaState) -> Note:
    return Note(before, after, RECORD)


@pytest.fixture
def committed() -> Committed:
    return Committed(Rows())


# The live table


@pytest.mark.parametrize("status", sorted(SagaStatus))
@pytest.mark.parametrize("deleted", [False, True])
def test_only_what_is_not_final_and_not_deleted_stays_in_memory(
    committed: Committed, status: SagaStatus, deleted: bool
) -> None:
    committed.note(note(None, BORN), Position(1, 2))
    assert dict(committed.live.items()) == {BORN.id: (BORN, Position(1, 2))}
    after = state(status, deleted=deleted)
    committed.note(note(SagaStatus.CREATED, after), Position(3, 4))
    expected = {} if deleted or status in FINAL else {BORN.id: (after, Position(3, 4))}
    assert dict(committed.live.items()) == expected


def test_the_rows_are_told_of_each_record_and_of_each_frame(committed: Committed) -> None:
    synced: list[int] = []
    committed.on_synced = lambda: synced.append(committed.through)
    committed.note(note(None, BORN), Position(1, 2))
    committed.synced(77)
    rows = committed._feed
    assert isinstance(rows, Rows)
    assert rows.told == [(BORN.id, (1, 2)), 77]
    assert synced == [77]


# Counters


def test_counters_follow_every_way_through_the_statuses() -> None:
    counters = Counters()
    way = [SagaStatus.CREATED, SagaStatus.RUNNING, SagaStatus.COMPLETED, SagaStatus.COMPENSATING]
    before: SagaStatus | None = None
    for status in (*way, SagaStatus.COMPENSATED):
        counters.note(note(before, state(status, seconds=8.0)))
        before = status
        made = counters.statistics()
        assert made.total == 1
        assert made.by_status[status] == 1
        assert (made.completed_count, made.completed_seconds) == (
            (1, 8.0) if status is SagaStatus.COMPLETED else (0, 0.0)
        )


def test_a_record_that_does_not_move_the_saga_changes_no_counter() -> None:
    counters = Counters()
    counters.note(note(None, state(SagaStatus.COMPLETED, seconds=5)))
    counters.note(note(SagaStatus.COMPLETED, state(SagaStatus.COMPLETED, seconds=5)))
    assert counters.statistics().completed_count == 1


def test_a_deleted_saga_is_counted_no_more() -> None:
    counters = Counters()
    counters.note(note(None, state(SagaStatus.COMPLETED, seconds=5)))
    counters.note(note(SagaStatus.COMPLETED, state(SagaStatus.COMPLETED, seconds=5, deleted=True)))
    assert counters.statistics().by_status == Counters().statistics().by_status
    assert (counters.completed_count, counters.completed_seconds) == (0, 0.0)


def test_counters_go_on_from_where_a_snapshot_left_them() -> None:
    start = Statistics({SagaStatus.COMPLETED: 2, SagaStatus.FAILED: 1}, 2, 12.5)
    made = Counters(start).statistics()
    assert made.total == 3
    assert set(made.by_status) == set(SagaStatus)
    assert (made.completed_count, made.completed_seconds) == (2, 12.5)


def test_counters_know_when_the_last_record_was_decided(committed: Committed) -> None:
    """Also when the record did not change the saga's status."""
    committed.note(note(None, BORN), Position(1, 2))
    later = msgspec.structs.replace(BORN, updated_at_utc_s=BORN.updated_at_utc_s + 7)
    committed.note(note(BORN.status, later), Position(3, 4))
    latest = committed.counters.statistics()
    assert latest.latest_utc_s == later.updated_at_utc_s
    assert Counters(latest).latest_utc_s == later.updated_at_utc_s


def test_statistics_are_a_value_that_later_notes_do_not_change() -> None:
    counters = Counters()
    before = counters.statistics()
    counters.note(note(None, BORN))
    assert before.total == 0


# Watching


def test_watchers_see_each_record_of_their_saga_until_they_stop(committed: Committed) -> None:
    first, second, other = Watching(), Watching(), Watching()
    stop_first = committed.watch(BORN.id, first)
    committed.watch("another", other)
    committed.note(note(None, BORN), Position(1, 2))
    stop_second = committed.watch(BORN.id, second)
    committed.note(note(SagaStatus.CREATED, state(SagaStatus.RUNNING)), Position(3, 4))
    stop_first()
    committed.note(note(SagaStatus.RUNNING, state(SagaStatus.COMPLETED)), Position(5, 6))
    stop_second()
    assert first.seen == ["created", "running"]
    assert second.seen == ["running", "completed"]
    assert other.seen == []
    assert set(committed._watchers) == {"another"}


def test_a_watcher_may_stop_while_it_is_called(committed: Committed) -> None:
    class Once(Watching):
        def __call__(self, state: SagaState, record: Record) -> None:
            super().__call__(state, record)
            stop()

    once, later = Once(), Watching()
    stop = committed.watch(BORN.id, once)
    committed.watch(BORN.id, later)
    for _ in range(2):
        committed.note(note(None, BORN), Position(1, 2))
    assert (len(once.seen), len(later.seen)) == (1, 2)


# Waiting


@pytest.mark.parametrize("status", sorted(SagaStatus))
async def test_who_waits_is_answered_when_the_saga_stands_still(
    committed: Committed, status: SagaStatus
) -> None:
    reply, forget = committed.when_still(BORN.id)
    still = state(status)
    committed.note(note(SagaStatus.RUNNING, still), Position(1, 2))
    assert reply.is_settled == (status not in MOVING)
    if reply.is_settled:
        assert await reply.wait() is still
    forget()
    forget()
    assert committed._waiting == {}


def test_who_stops_waiting_leaves_the_others(committed: Committed) -> None:
    (first, forget), (second, _) = committed.when_still(BORN.id), committed.when_still(BORN.id)
    forget()
    committed.note(note(None, state(SagaStatus.FAILED)), Position(1, 2))
    assert (first.is_settled, second.is_settled) == (False, True)
    assert committed._waiting == {}


# The end


async def test_at_the_end_watchers_and_waiters_are_told_and_so_is_who_comes_later(
    committed: Committed,
) -> None:
    before, after = Watching(), Watching()
    committed.watch(BORN.id, before)
    early, _ = committed.when_still(BORN.id)
    committed.end()
    committed.watch(BORN.id, after)
    late, forget = committed.when_still(BORN.id)
    assert (before.ended, after.ended) == (1, 1)
    assert await early.wait() is await late.wait() is None
    forget()
