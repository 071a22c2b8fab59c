from __future__ import annotations

from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from sagakeep.runtime.ids import POOLED_IDS, Ids

NOON = 1_700_000_000.0


def test_an_id_is_a_uuid_of_version_7_that_tells_its_millisecond() -> None:
    made = UUID(Ids(lambda: NOON + 0.123).next())
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == 1_700_000_000_123


def test_an_id_has_the_text_form_of_a_uuid() -> None:
    text = Ids(lambda: NOON).next()
    assert text == str(UUID(text))


def test_later_ids_sort_after_earlier_ones_within_a_millisecond_and_beyond_its_count() -> None:
    ids = Ids(lambda: NOON)
    made = [ids.next() for _ in range(10_000)]  # more than the 4,096 of one millisecond
    assert made == sorted(set(made))
    assert UUID(made[-1]).int >> 80 == 1_700_000_000_002


@given(st.lists(st.floats(0, 4e9), max_size=50))
def test_ids_sort_in_the_order_of_making_whatever_the_clock_says(times: list[float]) -> None:
    clock = iter(times)
    ids = Ids(lambda: next(clock))
    made = [ids.next() for _ in times]
    assert made == sorted(set(made))


def test_chance_is_asked_for_in_one_piece_for_many_ids_and_used_once() -> None:
    asked: list[int] = []

    def chance(size: int) -> bytes:
        asked.append(size)
        return b"".join((len(asked) << 32 | at).to_bytes(8, "big") for at in range(size // 8))

    ids = Ids(lambda: NOON, chance)
    tails = [UUID(ids.next()).int & (1 << 62) - 1 for _ in range(2 * POOLED_IDS)]
    assert asked == [8 * POOLED_IDS] * 2
    assert tails == [piece << 32 | at for piece in (1, 2) for at in range(POOLED_IDS)]
