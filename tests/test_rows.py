from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sagakeep.actors.row_file import RowFile
from sagakeep.actors.rows import IDS_AT_ONCE, Entry, Row, Rows, row_of
from sagakeep.actors.saga_query import (
    BadCursor,
    Place,
    SagaQuery,
    decode_cursor,
    encode_cursor,
    ids_sql,
    page_sql,
    scans,
)
from sagakeep.definition import SagaDefinition, Step
from sagakeep.errors import SagakeepError
from sagakeep.state import SagaState, SagaStatus, StepState

NOON = 1_760_000_000.123457
STEPS = (Step(id="pay", service="payment", action="charge"),)


def saga(
    saga_id: str,
    created_at_utc_s: float = NOON,
    status: SagaStatus = SagaStatus.RUNNING,
    *,
    name: str = "order",
    tags: dict[str, str] | None = None,
    **fields: object,
) -> SagaState:
    state = SagaState(
        id=saga_id,
        definition=SagaDefinition(name=name, steps=STEPS, tags=tags or {}),
        status=status,
        sequence=1,
        created_at_utc_s=created_at_utc_s,
        updated_at_utc_s=created_at_utc_s + 1,
        steps={step.id: StepState() for step in STEPS},
    )
    return msgspec.structs.replace(state, **fields)


def entries(*states: SagaState) -> list[Entry]:
    return [(state, (100 + place, place)) for place, state in enumerate(states)]


def ids(rows: tuple[Row, ...]) -> list[str]:
    return [row.saga_id for row in rows]


def listed(rows: Rows, **filters: object) -> list[str]:
    return ids(rows.page(msgspec.convert(filters, SagaQuery, strict=False)).rows)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas #1?.sqlite"  # characters that mean something in an address


@pytest.fixture
def rows(path: Path) -> Iterator[Rows]:
    rows = Rows(RowFile(str(path)))
    assert rows.open("u", None) == 0
    yield rows
    rows.close()


def reopened(path: Path, journal_uuid: str = "u", journal_end: int | None = None) -> int:
    rows = Rows(RowFile(str(path)))
    applied_through = rows.open(journal_uuid, journal_end)
    rows.close()
    return applied_through


# Rows


def test_a_row_comes_back_as_it_was_written(rows: Rows) -> None:
    state = saga("a", tags={"k": "v"}, body_digest=b"\x00\xff", idempotency_key="key")
    rows.write([(state, (7, 8))], 9)
    assert rows.find("a") == rows.find_key("key") == row_of(state, (7, 8))
    assert rows.page(SagaQuery()).rows == (row_of(state, (7, 8)),)
    assert rows.find("b") is None
    assert rows.find_key("a") is None


def test_every_status_comes_back(rows: Rows) -> None:
    rows.write(entries(*(saga(status.name, status=status) for status in SagaStatus)), 1)
    for status in SagaStatus:
        assert rows.find(status.name).status is status
        assert listed(rows, status=status) == [status.name]


def test_a_later_state_replaces_the_row(rows: Rows) -> None:
    early = saga("a", body_digest=b"d", idempotency_key="key", tags={"k": "v"})
    late = msgspec.structs.replace(
        early, status=SagaStatus.COMPLETED, updated_at_utc_s=early.updated_at_utc_s + 60
    )
    rows.write([(early, (1, 1))], 2)
    rows.write([(late, (5, 3))], 6)
    assert rows.find_key("key") == row_of(late, (5, 3))
    assert listed(rows, status="running") == []
    assert listed(rows, status="completed", tags=[("k", "v")]) == ["a"]
    assert rows.count(SagaQuery()) == 1


@pytest.mark.parametrize(
    "count", [0, 1, 15, 16, 17, 1023, 1024, 1025, 4095, 4096, 4097 + 1024 + 17]
)
def test_any_number_of_rows_is_written(rows: Rows, count: int) -> None:
    rows.write(entries(*(saga(f"s{n}", NOON + n, tags={"n": str(n)}) for n in range(count))), 1)
    assert rows.count(SagaQuery()) == count
    assert listed(rows, tags=[("n", str(count - 1))]) == ([f"s{count - 1}"] if count else [])


def test_many_ids_are_found_at_once_at_the_limit_and_beyond(rows: Rows) -> None:
    rows.write(entries(*(saga(f"s{n}") for n in range(IDS_AT_ONCE + 1))), 1)
    for count in (0, 1, IDS_AT_ONCE, IDS_AT_ONCE + 1):
        wanted = [f"s{n}" for n in range(count)]
        assert sorted(rows.find_many(wanted)) == sorted(wanted)
    assert rows.find_many(["s1", "none"]) == {"s1": rows.find("s1")}


def test_a_deleted_saga_is_in_no_list_but_keeps_its_id_and_its_key(rows: Rows) -> None:
    state = saga("a", status=SagaStatus.COMPLETED, tags={"k": "v"}, idempotency_key="key")
    rows.write(entries(state, saga("b", tags={"k": "v"})), 1)
    rows.write([(msgspec.structs.replace(state, deleted=True), (9, 9))], 2)
    assert listed(rows) == listed(rows, name="order") == listed(rows, tags=[("k", "v")]) == ["b"]
    assert listed(rows, status="completed") == listed(rows, status="completed", name="order") == []
    assert rows.count(SagaQuery(tags=(("k", "v"),))) == 1
    assert rows.find("a").deleted
    assert rows.find_key("key").deleted
    assert rows.find_many(["a"])["a"].deleted


def test_a_saga_that_was_deleted_before_it_was_written_is_in_no_list(rows: Rows) -> None:
    rows.write(entries(saga("a", tags={"k": "v"}, deleted=True)), 1)
    assert listed(rows) == listed(rows, tags=[("k", "v")]) == []
    assert rows.find("a").deleted


def test_the_first_saga_of_a_key_is_the_one_found(rows: Rows) -> None:
    second = saga("a", NOON + 1, idempotency_key="key")
    rows.write(entries(second, saga("b", NOON, idempotency_key="key")), 1)
    assert rows.find_key("key").saga_id == "b"


def test_what_cannot_be_written_changes_nothing(rows: Rows, path: Path) -> None:
    rows.write(entries(saga("a")), 5)
    other = sqlite3.connect(path)
    other.execute("CREATE TRIGGER no BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(sqlite3.IntegrityError, match="no"):
        rows.write(entries(saga("b", tags={"k": "v"})), 6)
    other.execute("DROP TRIGGER no")
    other.close()
    assert listed(rows) == ["a"]
    rows.write(entries(saga("c")), 7)
    assert rows.count(SagaQuery()) == 2


# Lists


def test_a_list_is_newest_first_and_by_id_within_an_instant(rows: Rows) -> None:
    rows.write(
        entries(saga("b"), saga("z", NOON - 1), saga("c"), saga("a"), saga("d", NOON + 1)), 1
    )
    assert listed(rows) == ["d", "c", "b", "a", "z"]


def test_pages_show_every_row_once_while_sagas_are_added(rows: Rows) -> None:
    first = [saga(f"s{n:02}", NOON + n // 4) for n in range(23)]
    rows.write(entries(*first), 1)
    seen: list[str] = []
    page = rows.page(SagaQuery(limit=5))
    for added in itertools.count():
        seen += ids(page.rows)
        if not page.next_cursor:
            break
        rows.write(entries(saga(f"t{added}", NOON + 100 + added)), 2)
        page = rows.page(SagaQuery(limit=5, cursor=page.next_cursor))
    assert seen == sorted((state.id for state in first), reverse=True)


@pytest.mark.parametrize("count", [0, 3, 4])
def test_a_page_that_holds_the_rest_has_no_next(rows: Rows, count: int) -> None:
    rows.write(entries(*(saga(f"s{n}") for n in range(count))), 1)
    page = rows.page(SagaQuery(limit=3))
    assert len(page.rows) == min(count, 3)
    assert bool(page.next_cursor) is (count > 3)


def test_the_bounds_are_inclusive_to_the_microsecond(rows: Rows) -> None:
    rows.write(entries(*(saga(f"s{n}", NOON + n * 1e-6) for n in range(5))), 1)
    after, before = NOON + 1e-6, NOON + 3e-6
    assert listed(rows, created_after=after, created_before=before) == ["s3", "s2", "s1"]
    assert listed(rows, created_after=after, created_before=after) == ["s1"]
    assert listed(rows, created_after=before, created_before=after) == []
    assert listed(rows, created_before=NOON) == ["s0"]
    assert listed(rows, created_after=NOON + 4e-6) == ["s4"]


def test_a_bound_finds_the_saga_whose_time_was_shown(rows: Rows) -> None:
    exact = NOON + 4e-7  # finer than what is shown
    rows.write(entries(saga("a", exact)), 1)
    shown = rows.find("a").created_at_utc_s
    assert listed(rows, created_after=shown, created_before=shown) == ["a"]
    assert abs(shown - exact) <= 5e-7


def test_bounds_beyond_all_time_are_no_bounds(rows: Rows) -> None:
    rows.write(entries(saga("a")), 1)
    forever = float("inf")
    assert listed(rows, created_after=-forever, created_before=forever) == ["a"]
    assert listed(rows, created_after=forever) == listed(rows, created_before=-forever) == []


def test_all_filters_in_all_combinations_agree_with_a_plain_search(rows: Rows) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    states = [
        saga(
            f"s{n:03}",
            NOON + draw.randrange(40),
            draw.choice([SagaStatus.RUNNING, SagaStatus.FAILED]),
            name=draw.choice(["order", "trip"]),
            tags={key: draw.choice("xy") for key in ("k", "l") if draw.random() < 0.8},
            deleted=draw.random() < 0.2,
        )
        for n in range(300)
    ]
    rows.write(entries(*states), 1)
    choices = itertools.product(
        (None, SagaStatus.RUNNING),
        (None, "order", "none"),
        ((), (("k", "x"),), (("k", "x"), ("l", "y")), (("k", "x"), ("k", "y"))),
        (None, NOON + 10),
        (None, NOON + 30),
    )
    for status, name, tags, after, before in choices:
        query = SagaQuery(status, name, tags, after, before, limit=7)
        wanted = [state for state in states if meets(state, query)]
        wanted.sort(key=lambda state: (state.created_at_utc_s, state.id), reverse=True)
        assert rows.count(query) == len(wanted)
        assert all_pages(rows, query) == [state.id for state in wanted]


def meets(state: SagaState, query: SagaQuery) -> bool:
    return (
        not state.deleted
        and query.status in (None, state.status)
        and query.name in (None, state.definition.name)
        and all(state.definition.tags.get(key) == value for key, value in query.tags)
        and state.created_at_utc_s >= (query.created_after or 0)
        and state.created_at_utc_s <= (query.created_before or 1e10)
    )


def all_pages(rows: Rows, query: SagaQuery) -> list[str]:
    page = rows.page(query)
    seen = ids(page.rows)
    while page.next_cursor:
        page = rows.page(msgspec.structs.replace(query, cursor=page.next_cursor))
        seen += ids(page.rows)
    return seen


def test_every_scan_of_a_query_gives_the_same_page(rows: Rows, path: Path) -> None:
    tags = {"k": "v", "l": "w"}
    rows.write(entries(*(saga(f"s{n}", NOON + n, tags=tags) for n in range(9))), 1)
    query = SagaQuery(SagaStatus.RUNNING, "order", tuple(tags.items()), limit=4)
    query = msgspec.structs.replace(query, cursor=rows.page(query).next_cursor)
    with sqlite3.connect(path) as other:
        pages = [
            other.execute(*page_sql(query, scan, "saga.saga_id", 4)).fetchall()
            for scan in scans(query)
        ]
    other.close()
    assert pages == [[("s4",), ("s3",), ("s2",), ("s1",)]] * 4


FILTERS = [
    dict(zip(("status", "name", "tags"), chosen, strict=True))
    for chosen in itertools.product(
        (None, SagaStatus.FAILED), (None, "order"), ((), (("k", "v"),), (("k", "v"), ("l", "w")))
    )
]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("cursor", ["", encode_cursor(Place(5, "s"))])
@pytest.mark.parametrize("bound", [None, NOON])
def test_every_list_reads_one_range_of_an_index_in_order(
    rows: Rows, path: Path, filters: dict[str, object], cursor: str, bound: float | None
) -> None:
    query = SagaQuery(**filters, cursor=cursor, created_after=bound, created_before=bound)
    other = sqlite3.connect(path)
    for scan in scans(query):
        sql, values = ids_sql(query, scan)
        first, *more = [line[3] for line in other.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        assert "SCAN" not in first or "SCAN saga USING COVERING INDEX by_created" in first
        in_key = "PRIMARY KEY (key=? AND value=?" in first
        assert in_key or " COVERING " in first or ("by_name" in first and query.status)
        assert "created_us" in first or not (cursor or bound)
        assert not [line for line in more if "SCAN" in line or "TEMP B-TREE" in line]
    other.close()


def test_a_list_starts_at_the_rarest_filter(rows: Rows) -> None:
    many = [saga(f"s{n:04}", tags={"env": "prod", "n": str(n % 500)}) for n in range(1500)]
    rare = saga("r", status=SagaStatus.FAILED, tags={"env": "prod", "n": "0"})
    rows.write(entries(*many, rare), 1)
    steps = {
        query: statements(rows, SagaQuery(**query_fields))
        for query, query_fields in {
            "tag": {"tags": (("env", "prod"), ("n", "7"))},
            "status": {"tags": (("env", "prod"),), "status": SagaStatus.FAILED},
        }.items()
    }
    assert "FROM tag WHERE tag.key = 'n' AND tag.value = '7'" in steps["tag"]
    assert "FROM saga INDEXED BY by_status" in steps["status"]
    assert listed(rows, tags=[("env", "prod")], status="failed") == ["r"]


def statements(rows: Rows, query: SagaQuery) -> str:
    """The last statement of a page, with its values."""
    seen: list[str] = []
    rows._listing.set_trace_callback(seen.append)
    rows.page(query)
    rows._listing.set_trace_callback(None)
    return seen[-1]


# Cursors


def test_a_cursor_is_safe_in_a_url_and_reads_back() -> None:
    for place in (Place(0, "a"), Place(1_760_000_000_123_457, "A" + "z._:-" * 25 + "12")):
        cursor = encode_cursor(place)
        assert cursor.replace("-", "").replace("_", "").isalnum()
        assert decode_cursor(cursor) == place


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!!",
        "é",
        "a" * 10_000,
        encode_cursor(Place(5, "s")) + "=",
        encode_cursor(Place(5, "s")) + "\n",
        encode_cursor(Place(5, "s"))[:-1],
        encode_cursor(Place(5, "")),
        encode_cursor(Place(5, "ü")),
        encode_cursor(Place(5, "a" * 129)),
        encode_cursor(Place(5, "a\n")),
        encode_cursor(Place(-5, "a")),
        encode_cursor(Place(1 << 63, "a")),
        encode_cursor(Place(10**18, "a"))[:-4],
    ],
)
def test_a_cursor_that_was_not_given_out_is_refused(rows: Rows, cursor: str) -> None:
    with pytest.raises(BadCursor) as raised:
        rows.page(SagaQuery(cursor=cursor))
    assert isinstance(raised.value, SagakeepError)
    assert len(str(raised.value)) < 200


def test_the_largest_cursor_is_taken(rows: Rows) -> None:
    rows.write(entries(saga("a")), 1)
    assert listed(rows, cursor=encode_cursor(Place((1 << 63) - 1, "a"))) == ["a"]


# The file


def test_a_missing_file_is_made(path: Path) -> None:
    assert reopened(path) == 0
    assert path.exists()


def test_what_was_written_is_there_after_a_close(path: Path, rows: Rows) -> None:
    rows.write(entries(saga("a")), 77)
    rows.close()
    assert rows.open("u", 77) == 77
    assert listed(rows) == ["a"]


def test_what_was_committed_is_there_after_a_kill(path: Path, rows: Rows, tmp_path: Path) -> None:
    rows.write(entries(saga("a")), 77)
    for file in tmp_path.iterdir():  # as the file system holds it, nothing closed
        (tmp_path / f"killed-{file.name}").write_bytes(file.read_bytes())
    assert reopened(tmp_path / f"killed-{path.name}") == 77


def test_a_file_of_another_journal_is_made_anew(path: Path, rows: Rows) -> None:
    rows.write(entries(saga("a")), 77)
    rows.close()
    assert rows.open("v", None) == 0
    assert listed(rows) == []
    rows.close()
    assert rows.open("v", None) == 0


@pytest.mark.parametrize(("journal_end", "applied"), [(76, 0), (77, 77), (78, 77)])
def test_rows_from_beyond_the_journal_are_made_anew(
    path: Path, rows: Rows, journal_end: int, applied: int
) -> None:
    rows.write(entries(saga("a")), 77)
    rows.close()
    assert rows.open("u", journal_end) == applied


def test_a_file_of_another_schema_is_made_anew(path: Path, rows: Rows) -> None:
    rows.write(entries(saga("a")), 77)
    rows.close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 999")
    other.close()
    assert rows.open("u", None) == 0


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM meta",
        "INSERT INTO meta VALUES ('u', 3)",
        "UPDATE meta SET applied_through = 'x'",
        "DROP TABLE meta",
    ],
)
def test_a_file_without_a_clear_position_is_made_anew(path: Path, rows: Rows, change: str) -> None:
    rows.close()
    with sqlite3.connect(path) as other:
        other.execute(change)
    other.close()
    assert rows.open("u", None) == 0
    rows.write(entries(saga("a")), 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:100],
        lambda data: data[:4096],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data + b"\0" * 512,
        lambda data: b"not a database " * 1000,
        lambda data: data[:40] + b"\xff" * 4056 + data[4096:],
        lambda data: b"\0" * len(data),
    ],
)
def test_a_damaged_file_is_made_anew(path: Path, rows: Rows, damage: object) -> None:
    rows.write(entries(*(saga(f"s{n}") for n in range(100))), 77)
    rows.close()
    path.write_bytes(damage(path.read_bytes()))
    assert rows.open("u", None) == 0
    rows.write(entries(saga("a")), 1)
    assert listed(rows) == ["a"]


def test_damage_that_is_met_later_is_mended_at_the_next_start(path: Path, rows: Rows) -> None:
    rows.write(entries(*(saga(f"s{n}", NOON + n) for n in range(1000))), 77)
    rows.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: 3 * 4096] + b"\xee" * (len(whole) - 3 * 4096))
    assert rows.open("u", None) == 77  # not every page is looked at
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        [rows.find(f"s{n}") for n in range(1000)]
    rows.close()
    assert rows.open("u", None) == 0
    assert rows.find("s1") is None
    rows.write(entries(saga("a")), 78)
    rows.close()
    assert rows.open("u", None) == 78  # the mark is gone


def test_a_file_that_somebody_else_locks_is_not_deleted(path: Path, rows: Rows) -> None:
    rows.write(entries(saga("a")), 77)
    rows.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    file = RowFile(str(path), wait_s=0.0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        file.open("u", None)
    other.close()
    assert rows.open("u", None) == 77


def test_a_path_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        Rows(RowFile(str(tmp_path / "none" / "file"))).open("u", None)


def test_readers_cannot_write(rows: Rows) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        rows._finding.execute("DELETE FROM saga")
