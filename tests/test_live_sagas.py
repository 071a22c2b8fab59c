from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from shop import saga, step

from sagakeep.actors.live_sagas import SHARDS, LiveSagas
from sagakeep.codec import decode_state, glance_at_state
from sagakeep.machine import create
from sagakeep.messages import Create
from sagakeep.runtime.journal_files import Position
from sagakeep.validation import parse_definition

DEFINITION = parse_definition(saga(step("a"), step("b")), None)
BORN = create(Create("s", DEFINITION), 1_000.0).state
NAMES = [f"s{number}" for number in range(3 * SHARDS)]


def named(name: str, sequence: int = 1) -> tuple[object, Position]:
    return replace(BORN, id=name, sequence=sequence), Position(sequence, 0)


@pytest.fixture
def table() -> LiveSagas:
    live = LiveSagas()
    for name in NAMES:
        live.note(*named(name))
    return live


def test_who_sleeps_is_the_same_saga_in_bytes(table: LiveSagas) -> None:
    table.lull("s1", 77.0)
    assert table.wakes_at_utc_s("s1") is not None
    assert table.wakes_at_utc_s("s2") is None
    assert table.wakes_at_utc_s("nobody") is None
    assert table.get("s1") == named("s1")
    assert table.position("s1") == table.position("s2") == (1, 0)
    assert table.asleep_count == 1
    assert len(table) == len(NAMES)


@pytest.mark.parametrize("is_asleep", [False, True])
def test_ids_are_read_while_the_table_changes(table: LiveSagas, is_asleep: bool) -> None:
    if is_asleep:
        for name in NAMES:
            table.lull(name, 5.0)
    seen = []
    for name in table.asleep_ids() if is_asleep else table.awake_ids():
        seen.append(name)
        table.discard(name)
    assert sorted(seen) == sorted(NAMES)
    assert len(table) == 0
    assert not list(table.asleep_ids())


def test_until_when_a_saga_sleeps_is_told(table: LiveSagas) -> None:
    table.lull("s1", 77.0)
    table.lull("s2", 0.0)
    assert [table.wakes_at_utc_s(name) for name in ("s1", "s2", "s3", "nobody")] == [
        77.0,
        0.0,
        None,
        None,
    ]


def test_a_wake_gives_the_state_back_once(table: LiveSagas) -> None:
    table.lull("s1", 0.0)
    assert table.wake("s1") == named("s1")
    assert table.wake("s1") is None
    assert table.wake("nobody") is None
    assert table.asleep_count == 0


def test_nobody_is_nowhere(table: LiveSagas) -> None:
    assert "nobody" not in table
    assert table.get("nobody") is table.position("nobody") is None
    table.discard("nobody")
    assert len(table) == len(NAMES)


@pytest.mark.parametrize("is_asleep", [False, True])
def test_what_is_noted_or_discarded_sleeps_no_more(table: LiveSagas, is_asleep: bool) -> None:
    for name in ("s1", "s2"):
        if is_asleep:
            table.lull(name, 5.0)
    table.note(*named("s1", 9))
    table.discard("s2")
    assert table.asleep_count == 0
    assert table.get("s1") == named("s1", 9)
    assert "s2" not in table


def test_the_bytes_of_a_cut_say_who_sleeps_and_until_when(table: LiveSagas) -> None:
    table.lull("s1", 77.0)
    table.lull("s2", 0.0)
    encoded = {glance.saga_id: glance for glance in map(glance_at_state, table.cut().use_up())}
    assert encoded["s1"].wakes_at_utc_s == 77.0
    assert encoded["s2"].wakes_at_utc_s == 0.0
    assert encoded["s3"].wakes_at_utc_s is None
    assert {decode_state(data)[0].id for data in table.cut().use_up()} == set(NAMES)


def test_who_reads_a_cut_to_use_it_up_lets_go_of_it_and_not_of_the_table(table: LiveSagas) -> None:
    table.lull("s1", 77.0)
    cut, whole = table.cut(), dict(table.items())
    reading = cut.use_up()
    first = [next(reading) for _ in range(len(NAMES) // 2)]
    assert len(cut) <= len(NAMES) - len(first) + 1  # one piece is being read
    assert len(first) + len(list(reading)) == len(NAMES)
    assert len(cut) == 0
    assert dict(table.items()) == whole


def test_what_a_cut_has_can_be_added_to_another_table(table: LiveSagas) -> None:
    table.lull("s1", 77.0)
    table.lull("s2", 0.0)
    other, cut = LiveSagas(), table.cut()
    for known in cut.awake():
        other.note(*known)
    for data in cut.asleep():
        glance = glance_at_state(data)
        other.add_asleep(glance.saga_id, data, glance.wakes_at_utc_s or 0.0)
    assert dict(other.items()) == dict(table.items())
    assert other.asleep_count == 2
    assert (other.overdue_count(100.0), list(other.waiting_for_operator)) == (1, ["s2"])


def test_how_many_should_have_been_woken_is_known_without_a_look_at_them(
    table: LiveSagas,
) -> None:
    for number, name in enumerate(NAMES[:10]):
        table.lull(name, 1_000.0 + 10 * number)
    table.lull(NAMES[10], 0.0)
    assert [table.overdue_count(by) for by in (1_000.0, 1_010.0, 1_050.0, 9_999.0)] == [0, 1, 5, 10]
    table.wake(NAMES[0])
    table.discard(NAMES[1])
    table.note(*named(NAMES[2], 9))
    assert table.overdue_count(9_999.0) == 7
    assert list(table.waiting_for_operator) == [NAMES[10]]
    table.wake(NAMES[10])
    assert not table.waiting_for_operator


MOVES = st.lists(
    st.tuples(st.sampled_from(("note", "lull", "wake", "discard", "cut")), st.integers(0, 20))
)


@given(MOVES)
def test_a_cut_never_changes_and_the_table_is_a_plain_mapping(moves: list[tuple[str, int]]) -> None:
    table, plain, asleep = LiveSagas(), {}, {}
    cuts = []
    for count, (move, number) in enumerate(moves):
        name = f"s{number}"
        match move:
            case "note":
                plain[name] = named(name, count)
                table.note(*plain[name])
                asleep.pop(name, None)
            case "lull" if name in plain and name not in asleep:
                asleep[name] = 10.0 * (number % 3)
                table.lull(name, asleep[name])
            case "wake":
                assert (table.wake(name) is not None) == (name in asleep)
                asleep.pop(name, None)
            case "discard":
                table.discard(name)
                plain.pop(name, None)
                asleep.pop(name, None)
            case "cut":
                cuts.append((table.cut(), dict(plain)))
    assert dict(table.items()) == plain
    assert table.asleep_count == len(asleep)
    assert set(table.waiting_for_operator) == {name for name in asleep if not asleep[name]}
    assert table.overdue_count(20.0) == sum(due == 10.0 for due in asleep.values())
    for cut, then in cuts:
        assert dict(cut.items()) == then
        assert len(cut) == len(then)
