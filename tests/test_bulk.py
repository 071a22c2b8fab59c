"""One move of many sagas: each for itself, none twice, none that has left the filter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from keeper import NOON, LeanDisk, Ledger, begin, begin_and_wait, history, keeping
from msgspec.structs import replace
from shop import step
from trio.testing import MockClock

from sagakeep import bulk as module
from sagakeep import events as e
from sagakeep import limits
from sagakeep.bulk import AT_ONCE, BulkResult, Chosen
from sagakeep.bulk_plan import planned_utc_s, token_of
from sagakeep.errors import PlanRefused, Unavailable
from sagakeep.messages import Compensate, Delete, Resolve, Retry, Wish
from sagakeep.moves import MOVES, MoveKind
from sagakeep.orchestrator import Orchestrator, SagaQuery
from sagakeep.state import SagaStatus

FAILED = Chosen(SagaQuery(status=SagaStatus.FAILED))


async def make(sagas: Orchestrator, wish: Wish, chosen: Chosen) -> list[BulkResult]:
    async with sagas.fleet.make_moves(wish, chosen) as results:
        return [result async for some in results for result in some]


async def failed(sagas: Orchestrator, count: int, **more: object) -> list[str]:
    """So many that failed at once."""
    return [(await begin_and_wait(sagas, step("a", "fail"), **more)).id for _ in range(count)]


async def test_all_that_match_move_once_with_who_and_why(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAGE_MAX", 7)
    async with keeping(tmp_path) as sagas:
        ids = await failed(sagas, 40)
        good = await begin_and_wait(sagas)
        results = await make(sagas, Retry("ada", "it is mended"), FAILED)
        assert sorted(result.saga_id for result in results) == sorted(ids)
        assert {result.outcome for result in results} == {"moved"}
        for saga_id in ids:
            await sagas.wait(saga_id, 60)
            told = [one for one in await history(sagas, saga_id) if isinstance(one, e.SagaRetry)]
            assert [(one.by, one.note) for one in told] == [("ada", "it is mended")]
        assert good.sequence == (await sagas.describe(good.id)).sequence


async def test_results_are_in_the_order_of_the_list(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        await failed(sagas, AT_ONCE * 2 + 3)
        listed = [saga.id for saga in (await sagas.list(replace(FAILED.query, limit=500))).sagas]
        results = await make(sagas, Delete(), FAILED)
        assert [result.saga_id for result in results] == listed
        assert (await sagas.list(SagaQuery())).sagas == []


async def test_it_is_safe_to_repeat(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path) as sagas:
        ids = [(await begin_and_wait(sagas)).id for _ in range(20)]
        chosen = Chosen(SagaQuery(status=SagaStatus.COMPLETED))
        async with sagas.fleet.make_moves(Compensate(), chosen) as results:
            first = await anext(results)  # and then the client goes
        for saga_id in ids:
            await sagas.wait(saga_id, 60)
        rest = await make(sagas, Compensate(), chosen)
        assert len(first) == AT_ONCE
        assert not {one.saga_id for one in first} & {one.saga_id for one in rest}
        assert {one.outcome for one in rest} == {"moved"}
        assert len(first) + len(rest) == len(ids)


async def test_who_has_left_the_filter_is_left_alone(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """A saga that completes between the list and the wish is not refunded."""
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        ids = [await begin(sagas, step("a", "gated")) for _ in range(AT_ONCE + 1)]
        await trio.sleep(1)
        running = Chosen(SagaQuery(status=SagaStatus.RUNNING))
        async with sagas.fleet.make_moves(Compensate(), running) as results:
            await anext(results)
            ledger.gate.set()
            assert (await sagas.wait(ids[0], 60)).status == "completed"
            (last,) = await anext(results)
    assert last == BulkResult(
        ids[0], "refused", SagaStatus.COMPLETED, "it is completed by now, not running"
    )


async def test_what_the_state_refuses_is_told_and_the_others_move(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        good, bad = await begin_and_wait(sagas), (await failed(sagas, 1))[0]
        chosen = Chosen(None, (good.id, "nobody", bad))
        results = await make(sagas, Retry(), chosen)
    assert [one.outcome for one in results] == ["refused", "refused", "moved"]
    assert results[0].status == "completed"
    assert results[1] == BulkResult("nobody", "refused", None, "there is no saga 'nobody'")


async def test_a_step_that_a_saga_does_not_have_is_a_refusal(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        await failed(sagas, 1)
        (result,) = await make(sagas, Resolve("z", "not_done"), FAILED)
    assert (result.outcome, "has no step 'z'" in result.why) == ("refused", True)


async def test_what_changes_nothing_is_a_refusal(tmp_path: Path, autojump_clock: MockClock) -> None:
    ledger = Ledger()
    async with keeping(tmp_path, services={"shop": ledger}) as sagas:
        saga = await begin_and_wait(sagas, step("a", compensation="gated"))
        await sagas.compensate(saga.id)
        (result,) = await make(sagas, Compensate(), Chosen(None, (saga.id,)))
    assert result == BulkResult(
        saga.id, "refused", SagaStatus.COMPENSATING, "it is compensating: it changes nothing"
    )


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.name)
async def test_every_move_that_needs_no_step_can_be_made_of_many(
    tmp_path: Path, autojump_clock: MockClock, kind: MoveKind
) -> None:
    """A verb that is added to the machine needs no code here."""
    if any(field.is_required for field in kind.fields):
        return
    async with keeping(tmp_path) as sagas:
        ids = [(await begin_and_wait(sagas)).id, *await failed(sagas, 2)]
        ids.append(await begin(sagas, step("a", "gated")))
        await trio.sleep(1)
        results = await make(sagas, kind.request().wish("ada"), Chosen(SagaQuery()))
        assert {one.saga_id for one in results} == set(ids)
        assert "failed" not in {one.outcome for one in results}
        assert "moved" in {one.outcome for one in results} or kind.name == "resume"
        assert all(one.why for one in results if one.outcome == "refused")


async def test_a_saga_that_runs_again_says_as_which(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    kind = next(kind for kind in MOVES if kind.name == "rerun")
    async with keeping(tmp_path) as sagas:
        saga = await begin_and_wait(sagas)
        (result,) = await make(sagas, kind.request().wish("ada"), Chosen(None, (saga.id,)))
        again = await sagas.wait(result.new_id, 60)
    assert (again.rerun_of, again.status) == (saga.id, "completed")


async def test_never_more_than_a_few_wait_in_mailboxes(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way = most = 0
    plain = module.Bulks._one

    async def counted(bulks: module.Bulks, *args: object) -> BulkResult:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await plain(bulks, *args)  # type: ignore[arg-type]
        finally:
            under_way -= 1

    monkeypatch.setattr(module.Bulks, "_one", counted)
    async with keeping(tmp_path) as sagas:
        await failed(sagas, AT_ONCE * 3)
        await make(sagas, Delete(), FAILED)
    assert most == AT_ONCE


async def test_one_bulk_too_many_is_refused_and_a_place_comes_back(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BULKS_MAX", 1)
    async with keeping(tmp_path) as sagas:
        async with sagas.fleet.make_moves(Delete(), FAILED):
            with pytest.raises(Unavailable, match="1 bulks run already"):
                await make(sagas, Delete(), FAILED)
        assert await make(sagas, Delete(), FAILED) == []


async def test_a_saga_that_moves_all_the_time_is_given_up(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(tmp_path) as sagas:
        await failed(sagas, 1)
        describe = sagas.describe

        async def older(saga_id: str) -> object:
            state = await describe(saga_id)
            return replace(state, sequence=state.sequence - 1)

        monkeypatch.setattr(sagas, "describe", older)
        (result,) = await make(sagas, Retry(), FAILED)
    assert (result.outcome, result.why) == ("failed", "it moves all the time: ask again")


async def test_what_is_not_a_sagas_own_fault_is_told_as_that(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(tmp_path) as sagas:
        await failed(sagas, 1)

        async def full(_saga_id: str, _wish: object) -> object:
            raise Unavailable("no room")

        monkeypatch.setattr(sagas, "move", full)
        (result,) = await make(sagas, Retry(), FAILED)
    assert (result.outcome, result.why) == ("failed", "no room")


async def test_a_server_that_stops_asks_no_more(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path) as sagas:
        await failed(sagas, AT_ONCE + 1)
        async with sagas.fleet.make_moves(Delete(), FAILED) as results:
            assert len(await anext(results)) == AT_ONCE
            sagas.stopping.set()
            with pytest.raises(Unavailable, match="the rest was not asked"):
                await anext(results)


# Plans


@asynccontextmanager
async def ticking(directory: Path) -> AsyncIterator[Orchestrator]:
    """One whose clock runs with trio's."""
    async with keeping(
        directory, LeanDisk(), wall=lambda: NOON + trio.current_time()
    ) as orchestrator:
        yield orchestrator


async def test_a_plan_counts_shows_some_and_does_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with ticking(tmp_path) as sagas:
        ids = await failed(sagas, limits.BULK_SAMPLE + 5)
        plan = await sagas.fleet.plan_moves(FAILED, "x")
        assert plan.count == len(ids)
        assert plan.sample == ids[::-1][: limits.BULK_SAMPLE]
        assert (await sagas.fleet.plan_moves(Chosen(None, ids))).sample == ids[: limits.BULK_SAMPLE]
        assert sagas.statistics().by_status[SagaStatus.FAILED] == len(ids)


async def test_what_was_begun_after_the_plan_is_left_alone(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with ticking(tmp_path) as sagas:
        before = await failed(sagas, 3)
        plan = await sagas.fleet.plan_moves(FAILED, "x")
        await trio.sleep(1)
        await failed(sagas, 2)
        chosen = sagas.fleet.as_planned(FAILED, "x", plan.token)
        results = await make(sagas, Delete(), chosen)
    assert sorted(one.saga_id for one in results) == sorted(before)


async def test_a_bound_of_the_filter_that_is_earlier_stands(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with ticking(tmp_path) as sagas:
        query = SagaQuery(created_before=NOON - 1)
        plan = await sagas.fleet.plan_moves(Chosen(query), "x")
        assert sagas.fleet.as_planned(Chosen(query), "x", plan.token) == Chosen(query)
        named = Chosen(None, ("a",))
        assert sagas.fleet.as_planned(named, "x", plan.token) == named


def test_a_token_is_of_one_wish_and_of_a_quarter_of_an_hour() -> None:
    token = token_of(["retry", {"status": "failed"}], NOON)
    assert planned_utc_s(token, ["retry", {"status": "failed"}], NOON + 900) == NOON
    for wish, at_utc_s in (("delete", NOON), (["retry", {"status": "failed"}], NOON + 901)):
        with pytest.raises(PlanRefused):
            planned_utc_s(token, wish, at_utc_s)
    for text in ("", "x", token + "0", token.replace("-", "")):
        with pytest.raises(PlanRefused, match="of another plan"):
            planned_utc_s(text, ["retry", {"status": "failed"}], NOON)
    with pytest.raises(PlanRefused):  # from the future
        planned_utc_s(token, ["retry", {"status": "failed"}], NOON - 1)
