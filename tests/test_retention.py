"""Sagas at their end leave when no rule keeps them, and no others do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from keeper import NOON, LeanDisk, begin, begin_and_wait, folded, keeping, send
from shop import step
from trio.testing import MockClock, wait_all_tasks_blocked

from sagakeep import events as e
from sagakeep.actors import retention
from sagakeep.actors.read_model import ReadModel
from sagakeep.errors import ConfigurationError, MoveRefused, SagaNotFound, Unavailable
from sagakeep.messages import Delete
from sagakeep.offline.audit import Audit
from sagakeep.orchestrator import Orchestrator, RetentionRule, SagaQuery
from sagakeep.runtime.mailbox import Mailbox
from sagakeep.settings.sources import load_config
from sagakeep.state import SagaStatus

LONG_S = 1000.0


def ticking() -> Callable[[], float]:
    return lambda: NOON + trio.current_time()


async def there(sagas: Orchestrator) -> set[str]:
    page = await sagas.list(SagaQuery(limit=10_000))
    return {state.id for state in page.sagas}


async def finished(sagas: Orchestrator, name: str, count: int = 1, **more: object) -> list[str]:
    """Finished sagas, a second after each other."""
    ids = []
    for _ in range(count):
        ids.append((await begin_and_wait(sagas, step("a"), name=name, **more)).id)
        await trio.sleep(1)
    return ids


async def test_without_rules_all_are_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with keeping(tmp_path, wall=ticking()) as sagas:
        ids = await finished(sagas, "x", 3)
        await trio.sleep(4 * LONG_S)
        assert await there(sagas) == set(ids)


async def test_sagas_leave_by_age_and_by_count_and_the_first_rule_that_covers_one_counts(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    rules = (
        RetentionRule(name="audit", keep_for_s=4 * LONG_S),
        RetentionRule(tags={"env": "test", "who": "me"}, keep_count=2),
        RetentionRule(keep_for_s=LONG_S, keep_count=5),
    )
    async with keeping(tmp_path, wall=ticking(), retention=rules) as sagas:
        audit = await finished(sagas, "audit", 4, tags={"env": "test", "who": "me"})
        test = await finished(sagas, "x", 4, tags={"env": "test", "who": "me"})
        others = await finished(sagas, "x", 4, tags={"env": "test"})
        await trio.sleep(300)
        assert await there(sagas) == {*audit, *test[2:], *others}
        others += await finished(sagas, "y", 3)
        await trio.sleep(300)
        assert await there(sagas) == {*audit, *test[2:], *others[2:]}
        await trio.sleep(LONG_S)
        assert await there(sagas) == {*audit, *test[2:]}
        assert sagas._engine.retention.retired == 2 + 2 + 5
        assert b"sagakeep_sagas_retired_total 9.0" in sagas.metrics()
        await trio.sleep(4 * LONG_S)
        assert await there(sagas) == set(test[2:])


async def test_who_waits_for_an_operator_leaves_only_if_a_rule_says_so(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    rules = (RetentionRule(keep_for_s=0.0),)
    async with keeping(tmp_path, disk, wall=ticking(), retention=rules) as sagas:
        held = await begin_and_wait(sagas, step("a", action="fail"), onFailure="hold")
        assert held.status is SagaStatus.FAILED
        running = await begin(sagas, step("a", action="gated", timeout=10_000), timeout=20_000)
        undone = await begin_and_wait(sagas, step("a"), step("b", action="fail"))
        assert undone.status is SagaStatus.COMPENSATED
        await trio.sleep(LONG_S)
        assert await there(sagas) == {held.id, running}
    rules = (RetentionRule(status=("failed",), keep_for_s=0.0),)
    async with keeping(tmp_path, disk, wall=ticking(), retention=rules) as sagas:
        await trio.sleep(LONG_S)
        assert held.id not in await there(sagas)


async def test_what_retention_deletes_is_erased_and_says_by_which_rule(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = LeanDisk()
    rules = (RetentionRule(name="other", keep_for_s=1.0), RetentionRule(keep_for_s=LONG_S))
    async with keeping(
        tmp_path, disk, wall=ticking(), retention=rules, erase_after_s=LONG_S
    ) as sagas:
        (saga_id,) = await finished(sagas, "x")
        await trio.sleep(5 * LONG_S)
        with pytest.raises(SagaNotFound):
            await sagas.describe(saga_id)
        assert sagas._engine.eraser.erased == 1
    last = [one.record for one in Audit(disk, str(tmp_path)) if one.record.saga_id == saga_id][-1]
    assert last.events == (e.SagaDeleted("retention", "rule 1 of retention: older than 1000 s"),)
    assert folded(disk, tmp_path)[saga_id].is_erased


async def test_more_than_a_slice_leaves_while_others_come(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SLICE", 7)
    rules = (RetentionRule(keep_count=10),)
    async with keeping(tmp_path, wall=ticking(), retention=rules) as sagas:
        ids = await finished(sagas, "x", 150)
        await trio.sleep(600)
        assert await there(sagas) == set(ids[-10:])


async def test_a_saga_that_moved_since_it_was_looked_at_stays(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path, wall=ticking()) as sagas:
        (saga_id,) = await finished(sagas, "x")
        model = sagas._engine.read_model
        row = await model.find(saga_id)
        assert row is not None
        actor = retention.Retention((), model, sagas._engine.registry, ticking())
        await sagas.compensate(saga_id)
        await sagas.wait(saga_id, 60)
        await actor._delete(retention._Due(row, "too old"))
        assert await there(sagas) == {saga_id}
        assert actor.retired == 0
        row = await model.find(saga_id)
        assert row is not None
        await sagas.delete(saga_id)
        await actor._delete(retention._Due(row, "too old"))
        assert actor.retired == 0
        refused = Delete(moved_at_utc_s=row.updated_at_utc_s + 1.0)
        (saga_id,) = await finished(sagas, "x")
        with pytest.raises(MoveRefused, match="it has moved since it was looked at"):
            await send(sagas, saga_id, refused)


async def test_rows_that_cannot_be_read_and_a_registry_that_is_full_delay_it(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Trouble(ReadModel):
        def __init__(self, inner: ReadModel) -> None:
            self.inner = inner
            self.is_broken = True

        async def list(self, query: SagaQuery) -> object:  # type: ignore[override] # as it comes
            if self.is_broken:
                raise Unavailable("not now")
            return await self.inner.list(query)

        async def tagged(self, *arguments: object) -> set[str]:
            return set()

    async with keeping(tmp_path, wall=ticking()) as sagas:
        (saga_id,) = await finished(sagas, "x")
        model = Trouble(sagas._engine.read_model)
        rules = (RetentionRule(keep_for_s=0.0),)
        registry = copy.copy(sagas._engine.registry)
        registry.mailbox = Mailbox(1)
        registry.mailbox.close()
        actor = retention.Retention(rules, model, registry, ticking())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(actor.run)
            await wait_all_tasks_blocked()
            assert "retention goes on later: not now" in caplog.text
            model.is_broken = False
            await trio.sleep(100)
            assert f"saga {saga_id} stays for now: " in caplog.text
            nursery.cancel_scope.cancel()
        assert await there(sagas) == {saga_id}


async def test_a_process_that_is_stopping_deletes_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    rules = (RetentionRule(keep_for_s=10.0),)
    async with keeping(tmp_path, wall=ticking(), retention=rules) as sagas:
        ids = await finished(sagas, "x", 2)
        sagas._engine.health.draining = True
        await trio.sleep(LONG_S)
        sagas._engine.health.draining = False
        assert sagas._engine.retention.retired == 0
        await trio.sleep(LONG_S)
        assert sagas._engine.retention.retired == len(ids)


# The configuration


def loaded(tmp_path: Path, text: str) -> tuple[RetentionRule, ...]:
    path = tmp_path / "c.toml"
    path.write_text(text)
    return load_config(str(path), {}, {}).retention


def test_rules_are_configured(tmp_path: Path) -> None:
    text = """
        [[retention]]
        name = "order"
        tags = { region = "eu" }
        keepFor = 60
        [[retention]]
        status = ["failed"]
        keepCount = 0
    """
    assert loaded(tmp_path, text) == (
        RetentionRule("order", {"region": "eu"}, keep_for_s=60.0),
        RetentionRule(status=("failed",), keep_count=0),
    )
    environ = {
        "SAGAKEEP_RETENTION__0__STATUS": "completed,failed",
        "SAGAKEEP_RETENTION__0__KEEP_FOR": "5",
        "SAGAKEEP_RETENTION__0__TAGS__REGION": "eu",
    }
    expected = RetentionRule("", {"region": "eu"}, ("completed", "failed"), 5.0)
    assert load_config(None, environ, {}).retention == (expected,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"retention\[0\] .*keeps everything for ever; expected keepFor, keepCount or both"),
        ('keepFor = 1\nname = "a b"', r"retention\[0\]\.name .*is the string \"a b\"; expected"),
        ("keepFor = 1\nstatus = []", r"retention\[0\]\.status .*has none; expected one or more of"),
        (
            'keepFor = 1\nstatus = ["running"]',
            r"status .*has the string \"running\"; expected .*completed",
        ),
        ("keepFor = -1", r"retention\[0\]\.keepFor .*is the number -1.*; expected seconds, 0 to"),
        ("keepCount = -1", r"retention\[0\]\.keepCount .*is the number -1; expected 0 to"),
        ("keepFor = nan", r"retention\[0\]\.keepFor"),
        ("keepFour = 1", r"retention\[0\]\.keepFour .*unknown field; did you mean \"keepFor\""),
    ],
)
def test_a_rule_that_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        loaded(tmp_path, f"[[retention]]\n{text}")


def test_more_rules_than_a_person_reads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has 101 rules; expected at most 100"):
        loaded(tmp_path, "[[retention]]\nkeepFor = 1\n" * 101)
