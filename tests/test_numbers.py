from __future__ import annotations

import re
from pathlib import Path

import trio
import trio.testing
from keeper import Ledger, begin, begin_and_wait, keeping
from pages import ROOT
from prometheus_client.parser import text_string_to_metric_families
from shop import saga, step
from test_alerts import UNDO_FAILS
from test_webhooks import Receiver, spec
from trio.testing import MockClock

from sagakeep import limits
from sagakeep.definition import SagaDefinition
from sagakeep.orchestrator import Orchestrator, Webhook
from sagakeep.runtime.histogram import SECONDS
from sagakeep.validation import parse_definition


def definition(steps: list[dict[str, object]], name: str) -> SagaDefinition:
    return parse_definition(saga(*steps, name=name), None)


def samples(sagas: Orchestrator) -> dict[str, float]:
    """Every sample by `name{label="value",...}` with its labels in order."""
    found = {}
    for family in text_string_to_metric_families(sagas.metrics().decode()):
        assert family.documentation, family.name
        for one in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(one.labels.items()))
            found[f"{one.name}{{{labels}}}" if labels else one.name] = one.value
    return found


async def test_sagas_are_counted_by_status_and_timed_by_name(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        await begin_and_wait(sagas, name="order")
        await begin_and_wait(sagas, step("a"), step("b", "fail"), name="order")
        await begin(sagas, step("a", "gated"), name="slow-one")
        await trio.testing.wait_all_tasks_blocked()
        now = samples(sagas)
    assert now['sagakeep_sagas{status="completed"}'] == 1
    assert now['sagakeep_sagas{status="running"}'] == now["sagakeep_live_sagas"] == 1
    assert now['sagakeep_sagas_begun_total{name="order"}'] == 2
    assert now['sagakeep_sagas_begun_total{name="slow-one"}'] == 1
    assert now['sagakeep_saga_undos_total{name="order"}'] == 1
    for status in ("completed", "compensated"):
        of = f'{{name="order",status="{status}"}}'
        assert now[f"sagakeep_saga_seconds_count{of}"] == 1
    assert 'sagakeep_saga_seconds_count{name="slow-one",status="running"}' not in now


async def test_calls_are_counted_by_service_action_and_outcome(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        await begin_and_wait(sagas, step("a", "flaky", maxRetries=2), step("b", "fail"))
        now = samples(sagas)

    def calls(action: str, phase: str, outcome: str) -> float:
        of = f'action="{action}",outcome="{outcome}",phase="{phase}",service="shop"'
        return now[f"sagakeep_service_calls_total{{{of}}}"]

    assert calls("flaky", "action", "not_done") == calls("flaky", "action", "done") == 1
    assert calls("fail", "action", "refused") == 1
    assert calls("undo", "compensation", "done") == 1
    assert now['sagakeep_service_retries_total{phase="action",service="shop"}'] == 1
    assert now['sagakeep_service_attempts_total{service="shop"}'] == 4
    assert now['sagakeep_service_call_seconds_count{service="shop"}'] == 4
    assert now['sagakeep_service_late_replies_total{service="shop"}'] == 0


async def test_an_attempt_whose_time_is_up_is_unknown(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        await begin_and_wait(sagas, step("a", "slow", timeout=0.5, maxRetries=0))
        now = samples(sagas)
    of = 'action="slow",outcome="unknown",phase="action",service="shop"'
    assert now[f"sagakeep_service_calls_total{{{of}}}"] == 1
    assert now['sagakeep_service_call_seconds_bucket{le="0.5",service="shop"}'] >= 1


async def test_the_journal_the_rows_and_the_process_are_counted(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as sagas:
        await begin_and_wait(sagas)
        await trio.sleep(5)
        now = samples(sagas)
        written = sagas.journal_statistics()
    assert now["sagakeep_journal_segments"] == 1
    assert now["sagakeep_journal_fdatasyncs_total"] == written.fdatasyncs
    assert now["sagakeep_journal_commit_seconds_count"] == written.frames
    assert now["sagakeep_journal_bytes_total"] == written.bytes
    assert now["sagakeep_rows_written_total"] == 1
    quiet = ("journal_queued_records", "journal_queued_bytes", "registry_queued", "turns_queued")
    for name in (*quiet, "rows_pending", "rows_lag_bytes", "rows_failures"):
        assert now[f"sagakeep_{name}"] == 0, name
    assert now["sagakeep_recovered"] == 1
    assert now["sagakeep_recovery_records"] == 0
    assert now["process_resident_memory_bytes"] > 1 << 20
    assert now["sagakeep_disk_free_bytes"] >= now["sagakeep_disk_reserve_bytes"] > 0
    assert any(name.startswith("sagakeep_build_info{") for name in now)


async def test_what_recovery_reads_is_not_counted_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with keeping(tmp_path) as first:
        await begin_and_wait(first, name="order")
        disk = first._engine._ports.disk
    async with keeping(tmp_path, disk) as second:
        now = samples(second)
    assert now['sagakeep_sagas{status="completed"}'] == 1
    assert not [name for name in now if name.startswith("sagakeep_sagas_begun_total")]


async def test_ten_thousand_names_are_few_lines(tmp_path: Path, autojump_clock: MockClock) -> None:
    steps = [step("a", "do")]
    wishes = [definition(steps, f"name-{number}") for number in range(10_000)]
    async with keeping(tmp_path, services={"shop": Ledger()}) as sagas:
        await sagas.start_many(wishes)
        await trio.testing.wait_all_tasks_blocked()
        now = samples(sagas)
    begun = [name for name in now if name.startswith("sagakeep_sagas_begun_total")]
    assert len(begun) == limits.METRIC_NAMES_MAX + 1
    others = 10_000 - limits.METRIC_NAMES_MAX
    assert now['sagakeep_sagas_begun_total{name="other"}'] == others
    assert len(now) < (limits.METRIC_NAMES_MAX + 2) * (len(SECONDS) + 10)


async def test_the_page_lists_every_metric_and_its_labels(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    webhooks = {"shop": Webhook(spec(), Receiver())}
    async with keeping(tmp_path, webhooks=webhooks) as sagas:
        await begin_and_wait(sagas, step("a", "flaky", maxRetries=1), step("b", "fail"))
        await begin_and_wait(sagas, *UNDO_FAILS)
        await sagas._engine.alerts.look()
        text = sagas.metrics().decode()
    served = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("sagakeep_") and family.samples:
            total = "_total" if family.type == "counter" else ""
            labels = {label for one in family.samples for label in one.labels} - {"le"}
            served[family.name + total] = labels
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| `(sagakeep_\w+)` \|(.*?)\|", page, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == served
