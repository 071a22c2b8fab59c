from __future__ import annotations

from pathlib import Path

import pytest
from event_samples import DEFINITION
from keeper import LeanDisk, begin_and_wait, keeping
from shop import step
from trio.testing import MockClock

from sagakeep import events as e
from sagakeep.actors.history import History
from sagakeep.codec import encode_record
from sagakeep.errors import JournalCorrupt
from sagakeep.events import Record
from sagakeep.runtime.disk import LocalDisk
from sagakeep.runtime.journal_files import JournalFiles, Position, open_journal

NOON = 1_700_000_000.0
FIRST = Record("s", 1, NOON, None, (e.SagaCreated(DEFINITION), e.SagaStarted(NOON + 9)))


def written(files: JournalFiles, record: Record) -> Position:
    return Position(files.append([encode_record(record)]), 0)


def moves(saga_id: str, sequence: int, previous: Position | None) -> Record:
    return Record(saga_id, sequence, NOON, previous, (e.ActorRestarted("x"), e.ActorRestarted("y")))


@pytest.fixture
def files(tmp_path: Path) -> JournalFiles:
    return open_journal(LocalDisk(), str(tmp_path), now_ns=0).files


async def test_a_history_is_read_from_its_end_to_its_beginning(files: JournalFiles) -> None:
    last = written(files, FIRST)
    wanted = [FIRST]
    for sequence in range(3, 21, 2):
        written(files, Record("other", 1, NOON, None, FIRST.events))
        wanted.append(moves("s", sequence, last))
        last = written(files, wanted[-1])
    history = History(files)
    assert await history.records(last) == wanted
    state = await history.state(last)
    assert (state.id, state.sequence) == ("s", 20)
    assert await history.states([last, last]) == [state, state]
    files.close()


async def test_what_was_seen_is_left_out_by_whole_records(files: JournalFiles) -> None:
    last = written(files, FIRST)
    last = written(files, second := moves("s", 3, last))
    last = written(files, third := moves("s", 5, last))
    history = History(files)
    for after, expected in ((0, 3), (1, 3), (2, 2), (3, 2), (4, 1), (5, 1), (6, 0), (99, 0)):
        found = await history.records(last, after)
        assert found == [FIRST, second, third][3 - expected :], after
    files.close()


@pytest.mark.parametrize(
    "wrong", [moves("t", 3, None), moves("s", 2, None), moves("s", 4, None), moves("s", 5, None)]
)
async def test_a_record_that_is_not_the_one_before_is_refused_with_its_place(
    files: JournalFiles, wrong: Record
) -> None:
    before = written(files, wrong)
    last = (
        written(files, moves("s", 5, before))
        if wrong.sequence != 3 or wrong.saga_id == "t"
        else before
    )
    with pytest.raises(JournalCorrupt, match="does not follow") as caught:
        await History(files).records(last)
    place = (caught.value.file, caught.value.offset, caught.value.record)
    assert place == (*files.place_of(before.frame), before.offset)
    assert place[0].endswith(".seg")
    files.close()


async def test_a_history_can_be_read_while_the_journal_is_written(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, LeanDisk()) as sagas:
        for count in range(5):
            saga = await begin_and_wait(sagas, *(step(f"s{n}") for n in range(count + 1)))
            assert (await sagas.describe(saga.id)) == saga
